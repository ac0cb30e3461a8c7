"""The code on the format's page runs on a cache, and says of it what is true."""

import re
from pathlib import Path

import numpy as np
import pytest
from caches import write_splits

from marr_pipeline.cache import SplitArrays
from marr_pipeline.cache.schema import FORMAT_VERSION

PAGE = (Path(__file__).parents[2] / "docs" / "cache-format.md").read_text(encoding="utf-8")
READ, READ_FEATURES, OURS, CHECK, OUT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(sample, monkeypatch):
    sample.rename(sample.with_name("cache.h5"))
    monkeypatch.chdir(sample.parent)
    return sample.parent


def execute(code):
    names = {}
    exec(compile(code, "cache-format.md", "exec"), names)
    return names


def test_h5py_alone(folder, splits, settings):
    found = execute(READ)
    np.testing.assert_array_equal(found["clean"], splits["train"].logits[0])
    np.testing.assert_array_equal(found["labels"], splits["train"].labels)
    np.testing.assert_array_equal(found["weight_norm"], settings["head"].weight_norm)
    assert found["views"] == ["clean", "augmented"]
    assert found["ids"].tolist() == splits["train"].ids
    assert found["parts"] == settings["parts"]


def test_a_single_view_with_h5py_alone(folder, splits, settings):
    rows: SplitArrays = splits["test"]
    settings = {**settings, "overwrite": True}
    rows = SplitArrays(logits=rows.logits, labels=rows.labels)
    write_splits(folder / "cache.h5", {"train": rows}, **settings)
    found = execute(READ)
    np.testing.assert_array_equal(found["clean"], rows.logits[0])
    assert found["ids"] is None


def test_features_alone_with_h5py_alone(folder, splits):
    rows = splits["train"]
    alone = SplitArrays(logits=None, labels=rows.labels, features=rows.features)
    write_splits(folder / "features.h5", {"train": alone}, num_classes=4, head=None)
    found = execute(READ_FEATURES)
    np.testing.assert_array_equal(found["clean"], rows.features[0])
    first = rows.features[0][rows.labels == rows.labels.min()].mean(0)
    np.testing.assert_array_equal(found["class_means"][0], first)


def test_this_package(folder, splits):
    found = execute(OURS)
    np.testing.assert_array_equal(found["minibatch"][0], splits["train"].logits[0][found["rows"]])
    assert found["damage"] == []


def test_out_again(folder, splits, settings):
    execute(OUT)
    with np.load(folder / "train.npz", allow_pickle=False) as train:
        np.testing.assert_array_equal(train["logits"], splits["train"].logits)
        assert tuple(train["views"]) == splits["train"].views
    with np.load(folder / "head.npz", allow_pickle=False) as head:
        np.testing.assert_array_equal(head["weight"], settings["head"].weight)
        np.testing.assert_array_equal(head["class_counts"], settings["class_counts"])


def test_the_rules_of_the_checksums(folder):
    execute(CHECK)


def test_the_rules_find_damage(folder, splits):
    path = folder / "cache.h5"
    whole = path.read_bytes()
    for part in (b"OHDR", b"MARRSEAL", b"d\xc3\xb6g", splits["train"].logits.tobytes()):
        content = bytearray(whole)
        content[content.index(part) + 1] ^= 1
        path.write_bytes(content)
        with pytest.raises(AssertionError):
            execute(CHECK)


def test_the_page_is_of_this_version():
    assert PAGE.startswith(f"# The cache file, version {FORMAT_VERSION}\n")
