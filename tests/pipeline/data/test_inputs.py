"""Every row on images of docs/inputs.md: made, read, and what is said of it."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marr_pipeline.data import load_dataset
from marr_pipeline.data.picture import Decoding, open_image
from marr_pipeline.errors import PipelineError

PAGE = Path(__file__).parents[3] / "docs" / "inputs.md"


def paint(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (value, 0, 255)).save(path)


def tree(root, *paths):
    """Images at those paths; what is no image there is a small file, a folder/ or a link -> to."""
    for number, path in enumerate(paths):
        place = root / path
        if " -> " in path:
            link, _, there = path.partition(" -> ")
            (root / link).symlink_to(there)
        elif path.endswith("/"):
            place.mkdir(parents=True)
        elif re.search(r"\.(png|JPG)$", path) and "._" not in path:
            paint(place, number)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"no image")


TRAIN = ("train/a/0.png", "train/a/1.png", "train/b/0.png")
TEST = ("test/a/0.png", "test/b/0.png")
BOTH = (*TRAIN, *TEST)
SIZES = {"train": 3, "test": 2}

# Files, options, and either the images of each split or what the refusal says; at last what is
# said of the ones that are read.
FOLDERS = {
    "`train/<class>/`, `test/<class>/`": (BOTH, {}, SIZES, None),
    "`tune/<class>/` beside them": (
        (*BOTH, "tune/a/0.png", "tune/b/0.png"),
        {},
        {"train": 3, "tune": 2, "test": 2},
        None,
    ),
    "`Training/`, `Testing/`, any case": (
        [path.replace("train", "Training").replace("test", "Testing") for path in BOTH],
        {},
        SIZES,
        None,
    ),
    "`val/`, `valid/` or `validation/` beside `test/`": (
        (*BOTH, "valid/a/0.png", "valid/b/0.png"),
        {},
        {"train": 3, "tune": 2, "test": 2},
        None,
    ),
    "`val/` without `test/`": (
        (*TRAIN, "val/a/0.png", "val/b/0.png"),
        {},
        "--val-is: tune or test expected, as .* has val/ and no test/, got none; say whether",
        None,
    ),
    "`val/` without `test/`, `--val-is test`": (
        (*TRAIN, "val/a/0.png", "val/b/0.png"),
        {"val_is": "test"},
        SIZES,
        None,
    ),
    "`val/` and `tune/`": (
        (*BOTH, "val/a/0.png", "tune/a/0.png"),
        {},
        "one folder of the split tune expected, got tune/ and val/; move one away",
        None,
    ),
    "other folders beside them": (
        (*BOTH, "extra/a/0.png"),
        {},
        SIZES,
        "folders that are no split passed over: extra",
    ),
    "`train/<class>/` alone": (TRAIN, {}, {"train": 3}, None),
    "no `train/`": (
        ("all/a/0.png", "all/b/0.png"),
        {},
        "a folder train/ with one folder a class expected, got all; move",
        None,
    ),
    "`train/` one folder deeper": (
        [f"archive/{path}" for path in BOTH],
        {},
        "got archive; give --data-root .*archive",
        None,
    ),
    "a test or tune folder without some classes": (
        (*TRAIN, "test/b/0.png"),
        {},
        {"train": 3, "test": 1},
        r"test: no image of 1 of 2 classes \(a\), which this split does not score",
    ),
    "a test or tune folder with other classes": (
        (*TRAIN, "test/b/0.png", "test/z/0.png"),
        {},
        r"test: class folders of train expected, got 1 unknown \(z\), and 1 missing \(a\)",
        None,
    ),
    "a test folder without class folders": (
        (*TRAIN, "test/0.png", "test/1.png"),
        {},
        r"an image in the folder of a class .*\(and 2 beside the class folders \(test/0.png\)\)",
        None,
    ),
    "a test or tune folder, or a class in it, that is a link to training's": (
        (*TRAIN, "test/b/0.png", "test/a -> ../train/a"),
        {},
        "test/a: images of one split expected, got those of train/a, to which a link leads; put",
        None,
    ),
    "a training class without images": (
        (*BOTH, "train/c/clip.gif"),
        {},
        r"train/c: at least one image .* empty class folder \(and 1 .gif \(train/c/clip.gif\)\)",
        None,
    ),
    "folders inside a class, also with names of images": (
        (*BOTH, "train/a/more/deep/2.JPG", "train/b/folder.png/3.png", "train/b/empty.png/"),
        {},
        {"train": 5, "test": 2},
        None,
    ),
    "`.x`, `._x.png`, `.ipynb_checkpoints`, `@eaDir`, `Thumbs.db`, at any depth": (
        (
            *(*BOTH, "train/._a.png", "train/a/._0.png", "train/a/.hidden.png"),
            *("train/.ipynb_checkpoints/0.png", "train/a/.ipynb_checkpoints/0-checkpoint.png"),
            *("test/@eaDir/0.png", "train/a/deep/@eaDir/0.png", "train/b/Thumbs.db"),
            *("__MACOSX/train/a/._0.png", "train/b/desktop.ini"),
        ),
        {},
        SIZES,
        None,
    ),
    "other files among images": (
        (*BOTH, "train/a/x.gif", "train/b/y.GIF", "test/a/notes.txt", "train/readme"),
        {},
        SIZES,
        r"passed over, as no image that is read: 2 .gif \(train/a/x.gif\), 1 beside the class "
        r"folders \(train/readme\), 1 .txt \(test/a/notes.txt\)",
    ),
    "class folders that are numbers": (
        ("train/2/0.png", "train/10/0.png", "test/2/0.png", "test/10/0.png"),
        {},
        {"train": 2, "test": 2},
        "numbered .* order of text, 10 before 2: label 0 is class 10, label 1 class 2; --clas",
    ),
    "class folders that have numbers: `-1`, `1.5`, `class10`": (
        ("train/class2/0.png", "train/class10/0.png", "test/class2/0.png", "test/class10/0.png"),
        {},
        {"train": 2, "test": 2},
        "numbered and stand in the order of text, class10 before class2: label 0 is class class10",
    ),
    "`--class-order FILE`": (BOTH, {"class_order": ("b", "a")}, SIZES, None),
    "`--class-order FILE` of other classes": (
        BOTH,
        {"class_order": ("b", "c")},
        r"--class-order: the 2 classes of .*train expected, got 1 missing \(a\) and 1 unknown \(c",
        None,
    ),
}


def read(root, said, outcome, name="folder", **options):
    """Read a dataset that is as `outcome` says, and said of as `said`."""
    if isinstance(outcome, str):
        with pytest.raises(PipelineError, match=outcome) as caught:
            load_dataset(name, data_root=root, **options)
        assert "\n" not in str(caught.value)
        return None
    data = load_dataset(name, data_root=root, **options)
    assert {split: len(images) for split, images in data.splits.items()} == outcome
    lines = [*data.notes, *data.warnings]
    assert len(lines) == (said is not None), lines
    assert said is None or re.search(said, lines[0]), lines
    return data


@pytest.mark.parametrize("row", FOLDERS)
def test_folders(row, tmp_path):
    paths, options, outcome, said = FOLDERS[row]
    tree(tmp_path, *paths)
    data = read(tmp_path, said, outcome, **options)
    if data is not None:
        classes = tuple(sorted({path.split("/")[1] for path in paths[:3]}))
        assert data.class_names == options.get("class_order", classes)
        for images in data.splits.values():
            labels = [data.class_names.index(path.split("/")[1]) for path in images.ids]
            assert images.labels.tolist() == labels


LINES = ("a/0.png 0", "a/1.png 0", "b/0.png 1")
# The lists of train and test, options, and outcome and word as above.
LISTS = {
    "lines `path label`": ((LINES, ["t/0.png 1"]), {}, {"train": 3, "test": 1}, None),
    "CSV with the header `path,label`": (
        (["Path, Label", "a/0.png,0", '"a/1.png",0', "b/0.png,1"],),
        {},
        {"train": 3},
        None,
    ),
    "`;` or a tab in place of commas": (
        (["path;label", "a/0.png;0", "b/0.png;1"], ["path\tlabel", "t/0.png\t0"]),
        {},
        {"train": 2, "test": 1},
        None,
    ),
    "other names of columns, such as `image_id,label` or `filename,target`": (
        (["Image ID,fold,Target", "a/0.png,3,0", "b/0.png,4,1"],),
        {},
        {"train": 2},
        "train.txt: read by its columns image_id, target",
    ),
    "columns of unknown names": (
        (["path,species", "a/0.png,0"],),
        {},
        r"line 1: columns path and label expected, got path, species; name one of them label",
        None,
    ),
    "lines `label path`": (
        (["0 a/0.png", "0 a/1.png", "1 b/0.png"],),
        {},
        "line 1: a path and then a label expected, got '0 a/0.png', in line 2 .*write the path fir",
        None,
    ),
    "CSV without a header": (
        (["a/0.png,0", "b/0.png,1"],),
        {},
        "line 1: a header such as path,label expected, got 'a/0.png,0', which looks like an image",
        None,
    ),
    "paths without a suffix": (
        (["id,label", "a/0,0", "b/0,1"],),
        {},
        {"train": 2},
        "read by its columns id",
    ),
    "absolute paths, below the data root or elsewhere": (
        (["ROOT/a/0.png 0", "ELSEWHERE/far.png 1"], ["./t/0.png 0"]),
        {},
        {"train": 2, "test": 1},
        None,
    ),
    "an image by two spellings, or in two splits": (
        (LINES, ["ROOT/b/0.png 1"]),
        {},
        "test.txt, line 1: an image of one split expected, got b/0.png, which is also in",
        None,
    ),
    "labels `0.0`": ((["a/0.png 0.0", "b/0.png 1.0"],), {}, {"train": 2}, None),
    "labels that are names": (
        (["a/0.png zebra", "b/0.png ant"], ["t/0.png zebra"]),
        {},
        {"train": 2, "test": 1},
        "labels are names, numbered in sorted order: 0 ant, 1 zebra",
    ),
    "labels that are names, `--class-order FILE`": (
        (["a/0.png 7", "b/0.png 3"], ["t/0.png 7"]),
        {"class_order": ("7", "3")},
        {"train": 2, "test": 1},
        "labels are names, numbered by --class-order: 0 7, 1 3",
    ),
    "a test label that is no training label": (
        (["a/0.png zebra", "b/0.png ant"], ["t/0.png bee"]),
        {},
        "test.txt, line 1: a label of the training list expected, got 'bee'; correct it",
        None,
    ),
    "numbers and names mixed, or `-1`, `1.5`, `nan`": (
        (["a/0.png 0", "a/1.png cat", "b/0.png 1.5", "b/1.png nan", "c/0.png dog"],),
        {},
        r"line 2: a label from 0 expected, got 'cat', in line 3 '1.5', in line 4 'nan', and so in "
        "4 lines; number the classes, or give names of all of them",
        None,
    ),
    "numbers with gaps": (
        (["a/0.png 1", "b/0.png 4"],),
        {},
        "every label in 0..4 expected, got none of label 0 and 2 more; .* a --class-order FILE",
        None,
    ),
    "missing images": (
        ([*LINES, "x/0.png 0", "x/1.png 1"],),
        {},
        r"line 4: an image file .*x/0.png expected, got none, line 5: .*x/1.png \(2 of 5",
        None,
    ),
}


@pytest.mark.parametrize("row", LISTS)
def test_lists(row, tmp_path):
    lists, options, outcome, said = LISTS[row]
    root, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    for name in ("a/0", "a/1", "b/0", "t/0"):
        paint(root / f"{name}.png")
    paint(elsewhere / "far.png")
    paths = {}
    for split, lines in zip(("train", "test"), lists, strict=False):
        text = "\n".join(lines).replace("ROOT", str(root)).replace("ELSEWHERE", str(elsewhere))
        paths[split] = tmp_path / f"{split}.txt"
        paths[split].write_text(text + "\n")
    data = read(root, said, outcome, "list", lists=paths, **options)
    if row.startswith("absolute"):
        assert data.train.ids == ("a/0.png", str(elsewhere / "far.png"))
        assert data.test.ids == ("t/0.png",)
    if row.startswith("labels that are names"):
        assert data.train.labels.tolist() == ([0, 1] if options else [1, 0])
        assert data.record()["class_names"] == (["7", "3"] if options else ["ant", "zebra"])


@pytest.mark.parametrize("spelling", ["../images/b/0.png", "a/../b/0.png", "{link}/b/0.png"])
def test_an_image_in_two_splits_is_found_by_every_spelling(spelling, tmp_path):
    root, link = tmp_path / "images", tmp_path / "link"
    paint(root / "a" / "0.png")
    paint(root / "b" / "0.png")
    link.symlink_to(root)
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text("a/0.png 0\nb/0.png 1\n")
    test.write_text(f"{spelling.format(link=link)} 1\n")
    with pytest.raises(PipelineError, match=r"got b/0.png, which is also in .*train.txt, line 2"):
        load_dataset("list", data_root=root, lists={"train": train, "test": test})


def test_an_image_in_two_splits_is_found_through_a_link_in_the_root(tmp_path):
    for name in ("a/0.png", "b/0.png"):
        paint(tmp_path / name)
    (tmp_path / "also").symlink_to("b")
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text("a/0.png 0\nb/0.png 1\n")
    test.write_text(f"{tmp_path}/also/0.png 1\n")
    with pytest.raises(PipelineError, match=r"got also/0.png, which is also in .*, line 2"):
        load_dataset("list", data_root=tmp_path, lists={"train": train, "test": test})


@pytest.mark.parametrize("line", ["0,a/0.png", "a/0,cat", "a/0 b.png,cat", "a/0.png,cat dog"])
def test_a_table_without_a_header_is_told_in_any_order_of_columns(line, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(f"{line}\n")
    with pytest.raises(PipelineError, match="a header such as path,label expected, got '"):
        load_dataset("list", data_root=tmp_path, lists={"train": path})


def test_blank_lines_before_a_header_and_commas_in_paths_are_read(tmp_path):
    paint(tmp_path / "a" / "x,y.png")
    table, text = tmp_path / "table.csv", tmp_path / "list.txt"
    table.write_text('\n\npath,label\n"a/x,y.png",0\n')
    text.write_text("a/x,y.png 0\n")
    for path in (table, text):
        data = load_dataset("list", data_root=tmp_path, lists={"train": path})
        assert data.train.ids == ("a/x,y.png",)
    table.write_text("\npath,label\na/x.png,0,1\n")
    with pytest.raises(PipelineError, match=r"table.csv, line 3: 2 fields as in the header"):
        load_dataset("list", data_root=tmp_path, lists={"train": table})


def test_labels_0_and_0_0_are_one_class_in_a_given_order_too(tmp_path):
    for name in ("a.png", "b.png", "t.png"):
        paint(tmp_path / name)
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text("a.png 0\nb.png 7.0\n")
    test.write_text("t.png 0.0\n")
    lists = {"train": train, "test": test}
    data = load_dataset("list", data_root=tmp_path, lists=lists, class_order=("7", "0"))
    assert data.train.labels.tolist() == [1, 0]
    assert data.test.labels.tolist() == [1]
    assert data.class_names == ("7", "0")


RAMP = np.linspace(0, 1, 32 * 32).reshape(32, 32)
GREY = np.rint(255 * RAMP)


def of_16_bits(scale=65_535):
    return Image.fromarray(np.rint(scale * RAMP).astype(np.uint16))


def rgba():
    image = Image.new("RGBA", (32, 32), (10, 20, 30, 0))
    image.paste((40, 50, 60, 255), (0, 0, 16, 32))
    return image


def two_frames(path):
    first, second = (Image.new("RGB", (32, 32), (value, 0, 0)) for value in (50, 200))
    first.save(path, save_all=True, append_images=[second])


def chunk(kind, data):
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def coloured_16_bits(colour_type, scale=65_535):
    """What saves a PNG that Pillow cannot write: 2 is RGB, 4 grey and transparency, 6 RGBA."""
    grey = np.rint(scale * RAMP).astype(">u2")
    channels = {2: 3, 4: 2, 6: 4}[colour_type]
    rows = np.repeat(grey[:, :, None], channels, axis=2)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", 32, 32, 16, colour_type, 0, 0, 0)

    def save(path):
        chunks = (b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks))

    return save


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    left = Image.new("RGB", (32, 32))
    left.paste((250, 250, 250), (0, 0, 16, 32))
    left.save(path, exif=exif, quality=100, subsampling=0)


# The file, a picture or what saves one, options, and red (32, 32) or what the refusal says.
PICTURES = {
    "black and white": ("x.png", Image.fromarray(RAMP > 0.5), {}, 255.0 * (RAMP > 0.5)),
    "grey": ("x.png", Image.fromarray(GREY.astype(np.uint8)), {}, GREY),
    "palette": ("x.png", Image.new("RGB", (32, 32), (7, 8, 9)).quantize(4), {}, 7),
    "RGB, JPEG, WebP, BMP, PPM, TIFF": ("x.bmp", Image.new("RGB", (32, 32), (7, 8, 9)), {}, 7),
    "CMYK": ("x.tif", Image.new("CMYK", (32, 32), (155, 0, 0, 0)), {}, 100),
    "with transparency": ("x.png", rgba(), {}, np.repeat([[40] * 16 + [10] * 16], 32, axis=0)),
    "several frames": ("x.tif", two_frames, {}, 50),
    "16-bit grey (PNG, TIFF, PPM)": ("x.png", of_16_bits(), {}, GREY),
    "16-bit grey, `--pixel-range 0,4095`": (
        "x.tif",
        of_16_bits(4095),
        {"pixel_range": "0,4095"},
        GREY,
    ),
    "16-bit colours, or grey with transparency (PNG, TIFF, PPM)": (
        "x.png",
        coloured_16_bits(4),
        {},
        GREY,
    ),
    "16-bit colours, or grey with transparency, `--pixel-range`": (
        "x.png",
        coloured_16_bits(2, 4095),
        {"pixel_range": "0,4095"},
        "x.png: a grey picture, or one of 8 bits .*, got RGB of more bits, which Pillow brings to",
    ),
    "32-bit integers or floats": (
        "x.tif",
        Image.fromarray((5 * RAMP).astype(np.float32)),
        {},
        r"x.tif: a picture of 8 or 16 bits expected, got 32-bit floats from 0 to 5, of which .* "
        r"--pixel-range LOW,HIGH, or --pixel-range own",
    ),
    "32-bit, `--pixel-range LOW,HIGH`": (
        "x.tif",
        Image.fromarray(np.rint(RAMP * 1e6).astype(np.int32)),
        {"pixel_range": "0,1e6"},
        GREY,
    ),
    "32-bit, `--pixel-range own`": (
        "x.tif",
        Image.fromarray((RAMP * 3 - 7).astype(np.float32)),
        {"pixel_range": "own"},
        GREY,
    ),
    "not-a-numbers in floats": (
        "x.tif",
        Image.fromarray(np.full((32, 32), np.nan, dtype=np.float32)),
        {"pixel_range": "own"},
        "a picture of finite numbers expected, got nan to nan",
    ),
    "turned by an EXIF tag": (
        "x.jpg",
        turned,
        {},
        np.repeat([[250] * 16 + [0] * 16], 32, axis=0),
    ),
    "turned by an EXIF tag, `--exif`": (
        "x.jpg",
        turned,
        {"exif": True},
        np.repeat([[250] * 16 + [0] * 16], 32, axis=0).T,
    ),
    "broken, cut short, or no image": (
        "x.png",
        lambda path: path.write_bytes(b"GIF89a"),
        {},
        "x.png: a readable image expected, got .*; replace or remove the file, or give --on-bad",
    ),
}


@pytest.mark.parametrize("row", PICTURES)
def test_pictures(row, tmp_path):
    name, picture, options, outcome = PICTURES[row]
    path = tmp_path / name
    if callable(picture):
        picture(path)
    else:
        picture.save(path)
    if isinstance(outcome, str):
        with pytest.raises(PipelineError, match=outcome):
            open_image(path, Decoding(**options))
        return
    image = open_image(path, Decoding(**options))
    assert image.mode == "RGB"
    red = np.asarray(image)[:, :, 0].astype(int)
    expected = np.broadcast_to(outcome, (32, 32))
    assert np.abs(red - expected).max() <= (12 if name.endswith("jpg") else 1)


@pytest.mark.parametrize("colour_type", [2, 4, 6])
@pytest.mark.parametrize("pixel_range", ["0,4095", "own"])
def test_a_range_is_never_ignored_in_a_deep_png(colour_type, pixel_range, tmp_path):
    path = tmp_path / "deep.png"
    coloured_16_bits(colour_type, 4095)(path)
    with pytest.raises(PipelineError, match=r"--pixel-range, got RGBA? of more bits"):
        open_image(path, Decoding(pixel_range=pixel_range))


@pytest.mark.parametrize("white", [4095, 65_535])
@pytest.mark.parametrize("magic", ["P5", "P6"])
def test_nor_where_a_ppm_states_its_white(magic, white, tmp_path):
    path = tmp_path / "deep.ppm"
    values = np.full((8, 8, 3 if magic == "P6" else 1), white, dtype=">u2")
    path.write_bytes(f"{magic} 8 8 {white}\n".encode() + values.tobytes())
    assert (np.asarray(open_image(path)) == 255).all()
    if (magic, white) == ("P5", 65_535):
        assert (np.asarray(open_image(path, Decoding(pixel_range="0,131070"))) == 128).all()
        return
    with pytest.raises(PipelineError, match="which Pillow brings to another depth itself"):
        open_image(path, Decoding(pixel_range="0,4095"))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_when_asked_and_as_stored_else(orientation, compression, tmp_path):
    pixels = np.arange(16 * 8 * 3, dtype=np.uint8).reshape(16, 8, 3)
    tiff, png = tmp_path / "x.tif", tmp_path / "x.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(pixels)
    picture.save(tiff, exif=exif, compression=compression)
    picture.save(png, exif=exif)
    assert np.array_equal(np.asarray(open_image(tiff)), pixels)
    as_asked = [np.asarray(open_image(path, Decoding(exif=True))) for path in (tiff, png)]
    assert np.array_equal(*as_asked)
    assert np.array_equal(as_asked[0], pixels) == (orientation == 1)


def test_the_page_has_these_rows():
    section = PAGE.read_text(encoding="utf-8").split("## Images: folders and lists")[1]
    section = section.split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, re.MULTILINE)
    rows = [row for row in rows if row not in ("layout", "list", "picture")]
    assert sorted(rows) == sorted([*FOLDERS, *LISTS, *PICTURES])
