"""Folders and lists as people have them, through the commands."""

import numpy as np
import pytest
from PIL import Image

from marr_pipeline.cache import open_cache

NETWORK = ("--backbone", "resnet8", "--iterations", 2, "--batch-size", 8)


def paint(path, rng):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """Classes 2 and 10 with 16-bit pictures among them, scored on `valid/`, which lacks one."""
    rng, root = np.random.default_rng(0), tmp_path / "images"
    for number in range(6):
        paint(root / "train" / "10" / f"{number}.png", rng)
    for number in range(4):
        paint(root / "train" / "2" / f"{number}.png", rng)
    deep = rng.integers(0, 4096, (32, 32), dtype=np.uint16)
    Image.fromarray(deep).save(root / "train" / "2" / "deep.png")
    paint(root / "valid" / "2" / "0.png", rng)
    (root / "train" / "2" / "clip.gif").write_bytes(b"GIF89a")
    return root


def test_from_a_folder_to_its_scores(root, run, tmp_path):
    data = ("--dataset", "folder", "--data-root", root)
    train = ("train", *data, *NETWORK, "-o", tmp_path / "a.pt")
    asked = run(*train)
    assert asked.code == 2
    assert "--val-is: tune or test expected" in asked.error
    order = tmp_path / "order.txt"
    order.write_text("2\n10\n")
    reading = ("--val-is", "test", "--class-order", order, "--pixel-range", "0,4095")
    trained = run(*train, *reading)
    assert trained.code == 0, trained.err
    assert "passed over, as no image that is read: 1 .gif (train/2/clip.gif)" in trained.err
    assert "valid: no image of 1 of 2 classes (10), which this split does not score" in trained.err

    extract = ("extract", *data, "--checkpoint", tmp_path / "a.pt", "--views", 0)
    other = run(*extract, "--pixel-range", "0,65535", "-o", tmp_path / "b.h5")
    assert other.code == 3
    assert "--pixel-range: 0,4095 expected, with which" in other.error
    extracted = run(*extract, "-o", tmp_path / "a.h5")
    assert extracted.code == 0, extracted.err
    scores = run("evaluate", tmp_path / "a.h5", "--json").document["methods"]["softmax"]
    assert scores["per_class"][0] in (0.0, 1.0)
    assert scores["per_class"][1] is None
    names = run("inspect", tmp_path / "a.h5").out
    assert names.index("2") >= 0


def test_a_checkpoint_that_passed_val_over_says_so_itself(root, run, tmp_path):
    (root / "valid").rename(tmp_path / "away")
    data = ("--dataset", "folder", "--data-root", root)
    trained = run("train", *data, *NETWORK, "-o", tmp_path / "a.pt")
    assert trained.code == 0, trained.err
    (tmp_path / "away").rename(root / "valid")
    extract = ("extract", *data, "--checkpoint", tmp_path / "a.pt", "--views", 0)
    extracted = run(*extract, "-o", tmp_path / "a.h5", "--json")
    assert extracted.code == 0, extracted.err
    assert "folders that are no split passed over: valid" in extracted.err
    assert list(open_cache(tmp_path / "a.h5").splits) == ["train"]
    other = run(*extract, "--val-is", "test", "-o", tmp_path / "b.h5")
    assert other.code == 3
    assert "--val-is: none expected, with which" in other.error


def test_a_dry_run_decodes_no_image(root, run, tmp_path):
    data = ("--dataset", "folder", "--data-root", root, "--val-is", "test")
    trained = run("train", *data, *NETWORK, "-o", tmp_path / "a.pt")
    assert trained.code == 0, trained.err
    for path in root.rglob("*.png"):
        path.write_bytes(b"no image")
    extract = ("extract", *data, "--views", 1, "-o", tmp_path / "a.h5")
    of_checkpoint = (*extract, "--checkpoint", tmp_path / "a.pt")
    for command in (of_checkpoint, (*extract, *NETWORK)):
        dry = run(*command, "--dry-run", "--json")
        assert dry.code == 0, dry.err
        assert dry.document["class_counts"] == [6, 5]
        assert dry.document["splits"] == {"train": 11, "test": 1}
    failed = run(*of_checkpoint)
    assert failed.code == 3
    assert "a readable image expected" in failed.error
