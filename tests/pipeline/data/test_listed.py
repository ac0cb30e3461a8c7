import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.data import load_dataset
from marr_pipeline.data.dataset import differences_from_published
from marr_pipeline.data.listed import (
    LAYOUTS,
    OFFICIAL,
    as_listed,
    choose_layout,
    class_folders,
    flat_val,
    folders_of_classes,
    listed_source,
    parse_prefixes,
    places_256,
    replace_prefix,
)
from marr_pipeline.data.source import SourceRequest
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.groups import PAPER_CUTS
from marr_pipeline.protocols import PROTOCOLS

PUBLISHED = {name: PROTOCOLS[name].figures[None] for name in OFFICIAL}


def counts_of(figures):
    """Some class counts with the published total, extremes and groups."""
    many, medium, few = figures.groups
    above, below = PAPER_CUTS
    lowest = np.repeat([above + 1, below, figures.smallest], [many, medium, few])
    highest = np.repeat([figures.largest, above, below - 1], [many, medium, few])
    lowest[0], highest[-1] = figures.largest, figures.smallest
    room = highest - lowest
    filled = np.minimum(np.cumsum(room), figures.images["train"] - lowest.sum())
    return lowest + np.diff(filled, prepend=0)


def write_lists(root, name, counts, images):
    """List files under their official names; labels in no order of frequency."""
    counts = np.random.default_rng(0).permutation(counts)
    for split, list_name in PROTOCOLS[name].list_names.items():
        of_class = counts
        if split != "train":
            of_class = np.full(len(counts), images[split] // len(counts))
        labels = np.repeat(np.arange(len(counts)), of_class)
        lines = [f"{split}/{label:04d}/{i}.jpg {label}\n" for i, label in enumerate(labels)]
        (root / list_name).write_text("".join(lines))
    return counts


@pytest.mark.parametrize("name", ["imagenet-lt", "places-lt"])
def test_lists_of_the_published_shape_agree_in_all_figures(name, tmp_path):
    figures = PUBLISHED[name]
    counts = write_lists(tmp_path, name, counts_of(figures), figures.images)
    source = listed_source(name, SourceRequest(data_root=tmp_path))
    sizes = {split: len(part.rows) for split, part in source.splits.items()}
    assert sizes == dict(figures.images)
    found = np.bincount(source.splits["train"].labels)
    assert np.array_equal(found, counts)
    assert (found.max(), found.min()) == (figures.largest, figures.smallest)
    assert differences_from_published(figures, class_counts=found, split_sizes=sizes) == []
    assert source.class_names[:2] == ("0000", "0001")


def test_every_difference_is_named():
    figures = PUBLISHED["imagenet-lt"]
    sizes = {"tune": 7_300, "extra": 10}
    counts = counts_of(PUBLISHED["places-lt"])
    assert differences_from_published(figures, class_counts=counts, split_sizes=sizes) == [
        "classes 365, published 1,000",
        "largest class 4,980, published 1,280",
        "many/medium/few classes 131/163/71, published 385/479/136",
        "tune images 7,300, published 20,000",
        "extra images 10, published none",
    ]


@pytest.mark.parametrize("name", ["imagenet-lt", "list"])
def test_root_and_list_of_training_images_are_asked_for(name, tmp_path):
    with pytest.raises(ConfigError, match=r"--list-train: the list of .* expected.*, got none"):
        load_dataset(name, data_root=tmp_path)
    with pytest.raises(ConfigError, match=r"--data-root: .* expected, got none"):
        load_dataset(name)


@pytest.fixture
def small(write_list, paint_all):
    """A list of four images of two classes, for images in memory."""
    lines = ("a/1.png 0", "a/2.png 0", "a/3.png 0", "b/1.png 1")
    paint_all(*lines, "a/9.png 0", "b/9.png 1", size=(40, 32))
    return {
        "train": write_list(*lines),
        "test": write_list("a/9.png 0", "b/9.png 1", name="test.txt"),
    }


def test_a_list_is_read_in_its_order(small, write_list, tmp_path):
    data = load_dataset("list", data_root=tmp_path, lists=small)
    named = write_list("path,label,class", "a/1.png,0,ant", "b/1.png,1,bee", name="names.csv")
    assert data.class_counts.tolist() == [3, 1]
    assert data.class_names == ("a", "b")
    assert data.train.ids == ("a/1.png", "a/2.png", "a/3.png", "b/1.png")
    assert data.test.labels.tolist() == [0, 1]
    assert data.tune is None
    assert data.warnings == ()
    assert data.imbalance_ratio is None
    cut = load_dataset(
        "list", data_root=tmp_path, lists=small, imbalance_ratio=3, tune_fraction=0.4
    )
    assert cut.source_rows()["tune"].shape == (1,)
    columns = load_dataset("list", data_root=tmp_path, lists={"train": named})
    assert columns.class_names == ("ant", "bee")


def test_a_prefix_map_leads_to_the_disk(small, write_list, tmp_path):
    moved = write_list("images/a/1.png 0", "images/b/1.png 1", name="moved.txt")
    with pytest.raises(DataError, match=r"moved.txt, line 1: an image file .*images/a/1.png") as e:
        load_dataset("list", data_root=tmp_path, lists={"train": moved})
    assert "(2 of 2 images are missing)" in str(e.value)
    data = load_dataset(
        "list",
        data_root=tmp_path,
        lists={"train": moved},
        path_prefixes=(("images/", ""), ("a/", "never/")),
    )
    assert data.train.ids == ("a/1.png", "b/1.png")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (["a/1.png 0", "a/2.png 365"], None, "line 2: a label in 0..364 expected, got 365"),
        (["a/1.png 0", "b/1.png 2"], [], r"train.txt: .* every label in 0..2 expected, got none"),
        (["a/1.png 1", "a/2.png 5"], [], r"got none of label 0 and 3 more; number the classes"),
        (["a/1.png 0"], ["b/9.png 1"], r"test.txt, line 1: a label in 0..0 expected, got 1;"),
        (["a/1.png 0"], ["a/1.png 0"], r"test.txt, line 1: an image of one split .*train.txt, l"),
    ],
)
def test_classes_that_do_not_add_up_are_refused(train, test, message, write_list, tmp_path):
    lists = {"train": write_list(*train)}
    name = "places-lt" if test is None else "list"  # whose classes are known
    if test:
        lists["test"] = write_list(*test, name="test.txt")
    with pytest.raises(DataError, match=message):
        load_dataset(name, data_root=tmp_path, lists=lists)


def test_unreadable_images_are_left_out_and_listed(small, tmp_path):
    (tmp_path / "a/2.png").write_bytes(b"no image")
    (tmp_path / "b/9.png").unlink()
    options = {"data_root": tmp_path, "lists": small, "skip_unreadable": True}
    data = load_dataset("list", **options)
    assert data.skipped == {"train": ("a/2.png",), "test": ("b/9.png",)}
    assert data.record()["skipped"] == {"train": ["a/2.png"], "test": ["b/9.png"]}
    assert data.train.ids == ("a/1.png", "a/3.png", "b/1.png")
    assert data.train.source_indices.tolist() == [0, 2, 3]
    again = load_dataset(
        "list",
        data_root=tmp_path,
        lists=small,
        stored_rows=data.source_rows(),
        stored_skipped=data.record()["skipped"],
    )
    assert again.record() == data.record()
    # The tail is drawn from what is left: the largest class has two images now.
    assert load_dataset("list", **options, imbalance_ratio=2).class_counts.tolist() == [2, 1]


def test_all_images_of_a_class_unreadable_is_an_empty_class(small, tmp_path):
    (tmp_path / "b/1.png").unlink()
    with pytest.raises(DataError, match="empty class 'b'"):
        load_dataset("list", data_root=tmp_path, lists=small, skip_unreadable=True)
    with pytest.raises(DataError, match=r"train.txt, line 4: .*b/1.png expected, got none \(1 of"):
        load_dataset("list", data_root=tmp_path, lists=small)


CLASS = "apartment_building-outdoor"
FOLDERS = {
    "train": f"train/{CLASS}/00001367.jpg",
    "val": f"val/{CLASS}/Places365_val_00000009.jpg",
}
FLAT = {"train": FOLDERS["train"], "val": "val/Places365_val_00000009.jpg"}
PLACES = {
    "train": "data_256/a/apartment_building/outdoor/00001367.jpg",
    "val": "val_256/Places365_val_00000009.jpg",
}
LAYOUT_OF = [(class_folders, FOLDERS), (flat_val, FLAT), (places_256, PLACES)]


@pytest.mark.parametrize(("layout", "on_disk"), LAYOUT_OF)
@pytest.mark.parametrize("listed", [FOLDERS, FLAT, PLACES])
@pytest.mark.parametrize("split", ["train", "val"])
def test_every_convention_is_found_in_every_layout(layout, on_disk, listed, split):
    assert layout(listed[split], CLASS) == on_disk[split]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_paths_are_left_alone(layout):
    path = "train_val2018/Aves/2761/5e1.jpg"
    assert layout(path, "2761") == path


@pytest.mark.parametrize(("layout", "on_disk"), [(as_listed, FOLDERS), *LAYOUT_OF[1:]])
def test_the_layout_of_the_disk_is_found(layout, on_disk, tmp_path):
    for path in on_disk.values():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    # Chosen for each list alone: only the validation list tells flat folders apart.
    found = choose_layout(tmp_path, [FOLDERS["val"]], np.array([8]), {8: CLASS})
    assert found(FOLDERS["val"], CLASS) == on_disk["val"]
    assert found(FOLDERS["val"], CLASS) == layout(FOLDERS["val"], CLASS)


def test_a_few_missing_images_do_not_hide_the_layout(tmp_path):
    (tmp_path / "val" / "a").mkdir(parents=True)
    for i in range(100, 200):
        (tmp_path / "val" / "a" / f"{i}.jpg").touch()
    paths = [f"val/{i}.jpg" for i in range(200)]
    found = choose_layout(tmp_path, paths, np.zeros(200, dtype=np.int64), {0: "a"})
    assert found is class_folders


def test_a_class_has_a_folder_only_if_it_is_its_own():
    paths = ["train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg", "train/b/2.jpg", "x/c/1.jpg"]
    assert folders_of_classes(paths, np.array([0, 0, 1, 2, 3])) == {0: "a", 3: "c"}
    assert folders_of_classes(["1.jpg", "d/2.jpg", "e/3.jpg"], np.array([0, 1, 1])) == {}


@given(
    prefixes=st.lists(st.tuples(st.text("ab/", max_size=3), st.text("xy/", max_size=3))),
    path=st.text("ab/", min_size=1),
)
def test_the_first_prefix_that_fits_is_replaced_and_no_other(prefixes, path):
    pairs = parse_prefixes([f"{old}={new}" for old, new in prefixes])
    assert pairs == tuple(prefixes)
    fitting = [(old, new) for old, new in prefixes if path.startswith(old)]
    expected = fitting[0][1] + path[len(fitting[0][0]) :] if fitting else path
    assert replace_prefix(path, pairs) == expected


def test_a_prefix_without_its_other_half_is_refused():
    with pytest.raises(ConfigError, match="--path-prefix: OLD=NEW expected, got 'val/'"):
        parse_prefixes(["val/"])
