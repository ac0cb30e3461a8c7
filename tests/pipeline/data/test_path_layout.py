import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.data.listed import (
    LAYOUTS,
    as_listed,
    choose_layout,
    class_folders,
    flat_val,
    folders_of_classes,
    parse_prefixes,
    places_256,
    replace_prefix,
)
from marr_pipeline.errors import ConfigError

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


def test_nothing_on_disk_leaves_the_list_as_it_is(tmp_path):
    paths = [f"val/{i}.jpg" for i in range(300)]
    found = choose_layout(tmp_path, paths, np.zeros(300, dtype=np.int64), {0: "a"})
    assert found is as_listed


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
