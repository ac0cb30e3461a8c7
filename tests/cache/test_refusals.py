"""What a reader and a writer refuse, and what they say."""

import re

import h5py
import numpy as np
import pytest

from marr_pipeline.cache import (
    CacheError,
    CachePlan,
    Head,
    SplitPlan,
    StaleCacheError,
    open_cache,
    require_same,
    verify_cache,
)


@pytest.mark.parametrize("read", [open_cache, verify_cache])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.h5", "no such file"),
        ("", "a folder"),
        ("text.h5", r"text\.h5: an HDF5 file expected"),
        ("foreign.h5", "not a cache"),
    ],
)
def test_what_is_no_cache(tmp_path, read, name, message):
    (tmp_path / "text.h5").write_text("no cache\n" * 500)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(CacheError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("left", [0.3, 0.9, 0.999])
def test_a_truncated_file(sample, left):
    content = sample.read_bytes()
    sample.write_bytes(content[: int(len(content) * left)])
    with pytest.raises(CacheError, match="truncated"):
        open_cache(sample)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format_version", "2.0", "format version 1.2 expected, got 2.0; update this program"),
        ("state", "writing", "state 'sealed' expected, got 'writing'; the file is unfinished"),
        ("fingerprint", "0" * 64, "what the fingerprint was computed from expected"),
    ],
)
def test_root_attributes(sample, name, value, message, edit):
    with edit() as file:
        file.attrs[name] = value
    with pytest.raises(CacheError, match=message):
        open_cache(sample)


def test_a_newer_minor_version_is_read(sample, edit):
    with edit() as file:
        file.attrs["format_version"] = "1.7"
    assert open_cache(sample).attributes["format_version"] == "1.7"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("class_counts", "dataset /class_counts expected, got none"),
        ("head/weight_norm", "dataset /head/weight_norm expected, got none"),
        ("splits/test/labels", "dataset /splits/test/labels expected, got none"),
        ("splits/test/logits", "test: logits, features or both"),
        ("splits", "splits named train, tune, test expected, got none"),
    ],
)
def test_what_must_be_there(sample, name, message, edit):
    with edit() as file:
        del file[name]
    with pytest.raises(CacheError, match=message):
        open_cache(sample)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("splits/train/labels", np.zeros(8, np.int64), r"logits: shape \(2, 8, 4\)"),
        ("splits/train/labels", np.zeros(9, np.int32), "int64 with 1 axes expected, got int32"),
        ("splits/train/labels", np.full(9, 4), "class ids in 0..3 expected, got 4 in row 0"),
        ("splits/train/labels", np.full(9, -1), "class ids in 0..3 expected, got -1 in row 0"),
        ("splits/train/ids", np.arange(8), "9 ids, one for each label, expected"),
        ("class_counts", np.zeros(5, np.int64), r"/class_counts: \(4,\) integers expected"),
        ("class_counts", np.array([1, -2, 0, 0]), "at least 0 expected, got -2 for class 1"),
        ("head/weight", np.zeros((4, 7), np.float32), r"the head's weight \(7\) expected, got 3"),
        ("head/weight", np.zeros((5, 3), np.float32), r"head.weight: shape \(4, D\) expected"),
        ("head/bias", np.full(4, np.nan), "head.bias: finite values expected, got nan"),
    ],
)
def test_arrays_that_contradict_each_other(sample, name, array, message, edit):
    with edit() as file:
        del file[name]
        file[name] = array
    with pytest.raises(CacheError, match=message) as caught:
        open_cache(sample)
    assert str(sample) in str(caught.value)


def test_views_and_bytes_that_do_not_fit(sample, edit):
    with edit() as file:
        for rows in ("logits", "features"):
            file[f"splits/train/{rows}"].attrs["views"] = ["clean", "augmented", "augmented"]
    with pytest.raises(CacheError, match=r"logits: shape \(3, 9, 4\)"):
        open_cache(sample)
    with edit(sums=False) as file:
        labels = file["splits/train/labels"][...]
        del file["splits/train/labels"]
        file.create_dataset("splits/train/labels", data=labels, chunks=(3,))
    with pytest.raises(CacheError, match="contiguous bytes in this file expected"):
        open_cache(sample)


def test_what_is_missing_is_told_with_what_there_is(sample):
    cache = open_cache(sample)
    with pytest.raises(CacheError, match="has no split 'tune'; it has train, test"):
        cache.split("tune")
    with pytest.raises(CacheError, match="has no document 'recipe'; it has config, indices"):
        cache.meta("recipe")


def test_what_was_opened_is_read_on_when_the_file_is_replaced(sample, splits, settings):
    cache = open_cache(sample)
    sample.unlink()
    sample.write_bytes(b"another file")
    train = cache.split("train")
    np.testing.assert_array_equal(train.logits, splits["train"].logits)
    assert train.ids == splits["train"].ids
    assert cache.class_names == settings["class_names"]
    assert cache.meta("config") == settings["meta"]["config"]


def test_another_source_is_named(sample, settings):
    parts = open_cache(sample).parts
    require_same(parts, settings["parts"], where="x.h5")
    asked = {"weights": "abc", "transforms": {"mean": [0.5], "flip": True}}
    with pytest.raises(StaleCacheError, match=re.escape("got transforms.mean: [0.4] -> [0.5]; wr")):
        require_same(parts, asked, where="x.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_counts": np.array([1, 2])}, r"class_counts: \(4,\) integers expected"),
        ({"class_names": ["a", "b"]}, "class_names: 4 strings expected, got 2"),
        ({"class_names": ["a", "b\0", "c", "d"]}, "without NUL expected"),
        ({"class_names": ["a", "b", "c", "\udc80"]}, "valid Unicode without NUL expected"),
        ({"dtype": "float64"}, "dtype: one of float32, float16 expected"),
        ({"parts": {"x": float("nan")}}, "JSON values expected"),
        ({"meta": {"x": object()}}, "x: JSON values expected"),
        ({"meta": {"parts": 1}}, "meta: a key without '/'"),
        ({"meta": {"a/b": 1}}, "meta: a key without '/'"),
        ({"splits": {}}, "splits: some of train, tune, test expected"),
        ({"splits": {"val": SplitPlan(num_samples=1, views=("clean",))}}, r"got \['val'\]"),
        (
            {"splits": {"test": SplitPlan(num_samples=1, views=("clean",), num_features=9)}},
            r"as wide as the head's weight \(3\) expected, got 9",
        ),
        ({"head": Head(weight_norm=np.ones(3))}, r"class_counts: \(3,\) integers expected"),
    ],
)
def test_plans_that_cannot_be(settings, change, message):
    plan = {"splits": {"test": SplitPlan(num_samples=1, views=("clean",))}, **settings, **change}
    with pytest.raises(CacheError, match=message):
        CachePlan(**plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_samples": 0}, "at least 1 expected, got 0"),
        ({"views": ()}, "at most one 'clean'"),
        ({"views": ("augmented", "clean")}, "at most one 'clean', first"),
        ({"views": ("clean", "clean")}, "at most one 'clean', first"),
        ({"views": ("flipped",)}, "at most one 'clean', first"),
        ({"has_logits": False}, "logits or features expected, got neither"),
        ({"num_features": 0}, "at least 1 expected, got 0"),
    ],
)
def test_splits_that_cannot_be(change, message):
    with pytest.raises(CacheError, match=message):
        SplitPlan(**{"num_samples": 1, "views": ("clean",), **change})
