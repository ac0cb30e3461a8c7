import numpy as np
import pytest
from PIL import Image

from marr_pipeline.data import load_dataset
from marr_pipeline.data.image_files import fitted
from marr_pipeline.data.picture import open_image
from marr_pipeline.errors import ConfigError, DataError


def paint(path, value, size=(32, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 255)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Classes b (4 images), a (2) and a test split; the red channel tells image from image."""
    for i in range(4):
        paint(tmp_path / "train" / "b" / f"{i}.png", 10 + i)
    for i in range(2):
        paint(tmp_path / "train" / "a" / "deep" / f"{i}.PNG", 20 + i)
    for name in ("a", "b"):
        paint(tmp_path / "test" / name / "0.png", 30)
    return tmp_path


def test_classes_are_alphabetical_and_every_image_is_kept(folder):
    data = load_dataset("folder", data_root=folder)
    assert data.class_names == ("a", "b")
    assert data.class_counts.tolist() == [2, 4]
    assert data.imbalance_ratio is None
    assert data.tune is None
    assert data.train.ids[0] == "train/a/deep/0.PNG"
    assert data.train.images[:, 0, 0, 0].tolist() == [20, 21, 10, 11, 12, 13]
    assert data.train.source_indices.tolist() == list(range(6))


def test_its_own_tune_folder_is_the_tune_split_and_other_files_are_passed_over(folder):
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "a" / "notes.txt").write_text("not an image")
    for name in ("a", "b"):
        paint(folder / "tune" / name / "0.png", 40)
    data = load_dataset("folder", data_root=folder)
    assert (data.class_counts.tolist(), len(data.tune)) == ([2, 4], 2)
    with pytest.raises(ConfigError, match=r"its own tune split, got 0\.5"):
        load_dataset("folder", data_root=folder, tune_fraction=0.5, stored_rows=data.source_rows())


def test_only_the_chosen_images_are_decoded(folder):
    chosen = load_dataset("folder", data_root=folder, imbalance_ratio=4).train.ids
    for path in [*folder.glob("train/b/*.png"), *folder.glob("train/a/deep/*.PNG")]:
        if path.relative_to(folder).as_posix() not in chosen:
            path.write_bytes(b"broken")
    assert load_dataset("folder", data_root=folder, imbalance_ratio=4).train.ids == chosen


@pytest.mark.parametrize("cut", [0, 40])
def test_a_broken_image_is_named(folder, cut):
    path = folder / "train" / "b" / "2.png"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"train/b/2\.png: a readable image expected"):
        load_dataset("folder", data_root=folder)


def test_an_empty_class_folder_is_named(folder):
    (folder / "train" / "c").mkdir()
    with pytest.raises(DataError, match=r"train/c: .* empty class folder"):
        load_dataset("folder", data_root=folder)


def test_other_test_classes_are_listed(folder):
    (folder / "test" / "a").rename(folder / "test" / "z")
    with pytest.raises(DataError, match=r"1 unknown \(z\), and 1 missing \(a\)"):
        load_dataset("folder", data_root=folder)


def test_another_size_is_scaled_by_its_short_side_and_cut_at_the_centre(tmp_path):
    wide = np.zeros((64, 192, 3), dtype=np.uint8)
    wide[:, 64:128] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    image = fitted(open_image(tmp_path / "wide.png"), 32)
    assert image.shape == (32, 32, 3)
    assert (image[:, 1:-1] == 200).all()


def test_grey_images_become_three_equal_channels(tmp_path):
    Image.new("L", (40, 32), 77).save(tmp_path / "grey.png")
    assert (fitted(open_image(tmp_path / "grey.png"), 32) == 77).all()


def test_progress_reaches_the_end(folder):
    calls = []
    load_dataset("folder", data_root=folder, progress=lambda *call: calls.append(call))
    assert (6, 6, "train images") in calls
    assert (2, 2, "test images") in calls
