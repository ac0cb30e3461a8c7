"""What is written is what is read, to the bit, and without a copy."""

import json
import mmap
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from caches import plan_of, write_splits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marr_pipeline.cache import (
    CacheWriter,
    SplitArrays,
    SplitPlan,
    contents,
    open_cache,
    verify_cache,
)


def test_every_array_comes_back(sample, splits, settings, head):
    cache = open_cache(sample)
    assert list(cache.splits) == ["train", "test"]
    assert cache.num_classes == 4
    np.testing.assert_array_equal(cache.class_counts, settings["class_counts"])
    assert cache.class_names == settings["class_names"]
    for name, array in head.arrays().items():
        np.testing.assert_array_equal(cache.head.arrays()[name], array)
        assert cache.head.arrays()[name].dtype == array.dtype
    for name, arrays in splits.items():
        split = cache.split(name)
        np.testing.assert_array_equal(split.logits, arrays.logits)
        np.testing.assert_array_equal(split.labels, arrays.labels)
        np.testing.assert_array_equal(split.ids, arrays.ids)
    np.testing.assert_array_equal(cache.split("train").features, splits["train"].features)
    assert cache.split("test").features is None
    assert cache.head_fingerprint == head.fingerprint() == cache.head.fingerprint()


def test_documents_and_provenance_come_back(sample, settings):
    cache = open_cache(sample)
    assert cache.parts == settings["parts"]
    assert sorted(cache.documents) == ["config", "indices"]
    assert cache.meta("config") == settings["meta"]["config"]
    assert cache.meta("indices") == [5, 1]
    assert cache.attributes["creator"] == "tests 1.0"
    assert cache.attributes["torch_version"] == "2.6"
    assert cache.attributes["h5py_version"] == h5py.__version__


@given(
    num_views=st.integers(1, 3),
    num_samples=st.integers(1, 40),
    num_classes=st.integers(1, 9),
    num_features=st.none() | st.integers(1, 5),
    dtype=st.sampled_from(["float32", "float16"]),
    block=st.integers(1, 41),
    has_clean=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_of_any_size_in_any_order_come_back(
    tmp_path, num_views, num_samples, num_classes, num_features, dtype, block, has_clean, seed
):
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((num_views, num_samples, num_classes)).astype(dtype)
    wide = generator.standard_normal((num_views, num_samples, num_features or 1)).astype(dtype)
    labels = generator.integers(0, num_classes, num_samples)
    views = ("clean" if has_clean else "augmented",) + ("augmented",) * (num_views - 1)
    path = tmp_path / "any.h5"
    plan = SplitPlan(num_samples=num_samples, views=views, num_features=num_features)
    whole = plan_of({"tune": plan}, num_classes=num_classes, dtype=dtype)
    with CacheWriter(path, whole, overwrite=True) as writer:
        places = [(v, s) for v in range(num_views) for s in range(0, num_samples, block)]
        for view, start in generator.permutation(places):
            stop = start + block
            writer.write_block(
                "tune",
                view=view,
                start=start,
                logits=rows[view, start:stop],
                features=None if num_features is None else wide[view, start:stop],
            )
        writer.write_labels("tune", labels)
    split = open_cache(path).split("tune")
    np.testing.assert_array_equal(split.logits, rows)
    assert split.logits.dtype == dtype
    np.testing.assert_array_equal(split.labels, labels)
    if num_features is None:
        assert split.features is None
    else:
        np.testing.assert_array_equal(split.features, wide)
    assert split.views == views
    assert verify_cache(path) == []


def test_features_alone(tmp_path, settings):
    path = tmp_path / "features.h5"
    features = np.ones((2, 3), np.float32)
    plan = SplitPlan(num_samples=2, views=("clean",), has_logits=False, num_features=3)
    with CacheWriter(path, plan_of({"train": plan}, **settings)) as writer:
        writer.write_labels("train", np.array([0, 3], np.int32))
        writer.write_block("train", view=0, start=0, logits=None, features=features)
    split = open_cache(path).split("train")
    assert split.logits is None
    np.testing.assert_array_equal(split.features, features[None])
    assert split.num_samples == 2


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_large_logits_are_the_bytes_of_the_file(tmp_path, splits, settings, dtype, monkeypatch):
    monkeypatch.setattr(contents, "READ_UP_TO", 0)
    path = tmp_path / "bytes.h5"
    write_splits(path, splits, dtype=dtype, **settings)
    logits = open_cache(path).split("train").logits
    base = logits
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, mmap.mmap)
    with h5py.File(path, "r") as file:
        offset = file["splits/train/logits"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[offset : offset + logits.itemsize] = np.asarray(7.5, dtype).tobytes()
    with path.open("r+b") as file:  # in place: the mapping follows the same inode
        file.write(content)
    assert logits[0, 0, 0] == 7.5
    assert logits.flags.aligned
    assert logits.flags.c_contiguous


def test_torch_takes_the_arrays_silently_and_the_file_stays_as_it_is(sample):
    before = sample.read_bytes()
    split = open_cache(sample).split("train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(split.logits)
    tensor.zero_()
    assert not split.logits.any()
    assert sample.read_bytes() == before


def test_plain_h5py_reads_it(sample, splits, settings):
    with h5py.File(sample, "r") as file:
        assert file.attrs["format"] == "marr-cache"
        assert file.attrs["format_version"] == "1.2"
        assert file.attrs["state"] == "sealed"
        train, test = file["splits/train/logits"], file["splits/test/logits"]
        np.testing.assert_array_equal(train[...], splits["train"].logits)
        np.testing.assert_array_equal(test[...], splits["test"].logits[0])
        assert train.shape == (2, 9, 4)
        assert test.shape == (5, 4)
        assert list(train.attrs["views"]) == ["clean", "augmented"]
        assert list(file["splits/train/features"].attrs["views"]) == ["clean", "augmented"]
        assert list(test.attrs["views"]) == ["augmented"]
        assert train.chunks is None
        assert train.compression is None
        assert file["splits/train/labels"].dtype == np.int64
        assert file["splits/train/ids"].asstr()[3] == "straße/3.png"
        assert list(file["class_names"].asstr()) == settings["class_names"]
        assert json.loads(file["meta/config"].asstr()[()]) == settings["meta"]["config"]
        assert file["checksums/splits/train/logits"].dtype == np.uint32


def test_views_are_chosen_by_kind(sample):
    train, test = open_cache(sample).split("train"), open_cache(sample).split("test")
    assert train.clean_view == 0
    assert train.view_indices("clean") == [0]
    assert train.view_indices("augmented") == [1]
    assert train.view_indices("all") == [0, 1]
    assert test.clean_view == 0
    assert test.view_indices("clean") == []


def test_splits_come_in_their_own_order(tmp_path, splits, settings):
    path = tmp_path / "order.h5"
    rows: SplitArrays = splits["test"]
    write_splits(path, {"test": rows, "tune": rows, "train": rows}, **settings)
    assert list(open_cache(path).splits) == ["train", "tune", "test"]


def test_the_same_arrays_make_the_same_bytes_but_for_the_time(tmp_path: Path, splits, settings):
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    for path in (first, second):
        write_splits(path, splits, **settings)
    one, two = open_cache(first), open_cache(second)
    assert one.fingerprint == two.fingerprint
    differing = {key for key in one.attributes if one.attributes[key] != two.attributes[key]}
    assert differing <= {"created_utc"}
