"""Image trees shaped like ImageNet-LT and iNaturalist 2018, made here, through the whole way."""

import h5py
import numpy as np
import pytest
from PIL import Image

SIZE = 72  # the smallest images that are streamed have 65 pixels
COUNTS = (9, 5, 2)
NETWORK = ("--image-size", SIZE, "--backbone", "resnet8")
SHORT = (*NETWORK, "--iterations", 3, "--batch-size", 8)


def paint(path, label, rng):
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = rng.integers(80, 120, 2)
    noise = rng.integers(0, 60, (height, width, 3)) + 60 * label
    Image.fromarray(noise.astype(np.uint8)).save(path)


def write_tree(root, lists, move=lambda path: path):
    """Lists under their official names, and their images where `move` says."""
    rng = np.random.default_rng(0)
    for name, lines in lists.items():
        for line in lines:
            path, label = line.split()
            paint(root / move(path), int(label), rng)
        (root / name).write_text("\n".join(rng.permutation(lines)) + "\n")
    return root


@pytest.fixture
def imagenet(tmp_path):
    """Kang's lists (`val/<class>/FILE`) on a disk whose val is flat."""
    classes = ("n01440764", "n01443537", "n01484850")
    lists = {f"ImageNet_LT_{split}.txt": [] for split in ("train", "val", "test")}
    for label, (wnid, count) in enumerate(zip(classes, COUNTS, strict=True)):
        rows = [f"train/{wnid}/{wnid}_{i}.JPEG {label}" for i in range(count + 2)]
        lists["ImageNet_LT_train.txt"] += rows[:count]
        lists["ImageNet_LT_val.txt"] += rows[count:]
        lists["ImageNet_LT_test.txt"] += [
            f"val/{wnid}/ILSVRC2012_val_{label}{i}.JPEG {label}" for i in range(2)
        ]

    def flat(path):
        return f"val/{path.split('/')[-1]}" if path.startswith("val/") else path

    return write_tree(tmp_path / "imagenet", lists, flat)


@pytest.fixture
def inaturalist(tmp_path):
    lists = {f"iNaturalist18_{split}.txt": [] for split in ("train", "val")}
    for label, (category, count) in enumerate(zip((2761, 11, 507), COUNTS, strict=True)):
        folder = f"train_val2018/Aves/{category}"
        rows = [f"{folder}/{label}{i}.jpg {label}" for i in range(count + 3)]
        lists["iNaturalist18_train.txt"] += rows[:count]
        lists["iNaturalist18_val.txt"] += rows[count:]
    return write_tree(tmp_path / "inaturalist", lists)


def data(root):
    name = {"imagenet": "imagenet-lt", "inaturalist": "inaturalist2018"}[root.name]
    return ("--dataset", name, "--data-root", root)


@pytest.mark.parametrize(
    ("tree", "workers", "sizes", "names"),
    [
        ("imagenet", 0, {"train": 16, "tune": 6, "test": 6}, b"n01440764"),
        ("inaturalist", 1, {"train": 16, "test": 9}, b"2761"),
    ],
)
def test_images_to_a_cache(tree, workers, sizes, names, run, tmp_path, request):
    root = request.getfixturevalue(tree)
    options = (*data(root), *NETWORK[:2])
    checkpoint, cache = tmp_path / "net.pt", tmp_path / "net.h5"
    trained = run(
        *("train", *options, *SHORT[2:], "--workers", 0, "-o", checkpoint, "--json"),
    )
    assert trained.code == 0, trained.err
    assert trained.document["iterations"] == 3
    assert "not the published data: classes 3, published" in trained.err

    options = (*options, "--workers", workers)
    extract = ("extract", *options, "--checkpoint", checkpoint, "--views", 2, "-o", cache)
    extracted = run(*extract, "--json")
    assert extracted.code == 0, extracted.err
    with h5py.File(cache) as file:
        assert {name: len(split["labels"]) for name, split in file["splits"].items()} == sizes
        assert file["splits/train/logits"].shape == (3, 16, 3)
        assert file["class_counts"][:].tolist() == list(COUNTS)
        assert file["class_names"][0] == names
        views = file["splits/train/logits"][:]
    assert not np.allclose(views[1], views[2], atol=1e-3)
    assert "already there" in run(*extract).err


def test_bad_images_end_the_run_or_are_left_out(inaturalist, run, tmp_path):
    lines = (inaturalist / "iNaturalist18_train.txt").read_text().split()
    broken, missing = (path for path in lines[::2] if "/2761/" in path and path[-5] in "37")
    (inaturalist / broken).write_bytes(b"\xff\xd8 no image")
    arguments = ("extract", *data(inaturalist), *SHORT, "--workers", 0, "--views", 0)
    cache = tmp_path / "a.h5"

    failed = run(*arguments, "-o", cache)
    assert failed.code == 3
    assert f"{broken}: a readable image expected" in failed.error
    (inaturalist / missing).unlink()
    failed = run(*arguments, "-o", cache)
    assert failed.code == 3
    assert f"{missing} expected, got none (1 of 16 images are missing)" in failed.error
    assert not cache.exists()

    # What was trained until the broken image is kept, and is of other images than these.
    skipped = run(*arguments, "--on-bad-image", "skip", "--overwrite", "-o", cache)
    assert skipped.code == 0, skipped.err
    said = next(line for line in skipped.err.splitlines() if "left out as unreadable" in line)
    assert broken in said
    assert missing in said
    with h5py.File(cache) as file:
        assert file["class_counts"][:].tolist() == [7, 5, 2]
        assert broken in file["meta/config"][()].decode()
        ids = [path.decode() for path in file["splits/train/ids"][:]]
    assert not {broken, missing} & set(ids)

    again = run(
        *("extract", *data(inaturalist), "--checkpoint", cache.with_suffix(".pt")),
        *("--views", 0, "--workers", 0, "-o", tmp_path / "b.h5"),
    )
    assert again.code == 0, again.err
    assert broken in again.err
