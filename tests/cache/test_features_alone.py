"""Caches of features alone, and heads that divide features by their norms (version 1.2)."""

from contextlib import suppress

import h5py
import numpy as np
import pytest
from caches import plan_of, sum_anew, write_splits
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.cache import (
    CacheError,
    CacheWriter,
    Head,
    SplitArrays,
    SplitPlan,
    StaleCacheError,
    open_cache,
    verify_cache,
)

COUNTS = st.integers(1, 4)
ALONE = {"has_logits": False, "views": ("clean",), "num_samples": 5}


def features_of(num_views=1, num_samples=5, width=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_views, num_samples, width), dtype=np.float32)


@given(
    views=COUNTS, samples=COUNTS, width=COUNTS, classes=COUNTS, dtype=st.sampled_from(["f2", "f4"])
)
def test_rows_come_back_as_they_were(tmp_path_factory, views, samples, width, classes, dtype):
    path = tmp_path_factory.mktemp("alone") / "cache.h5"
    features = features_of(views, samples, width).astype(dtype)
    labels = np.arange(samples) % classes
    rows = SplitArrays(logits=None, labels=labels, features=features)
    kind = np.dtype(dtype).name
    write_splits(path, {"train": rows}, num_classes=classes, head=None, dtype=kind)
    found = open_cache(path)
    assert found.head is None
    assert (found.num_classes, found.num_features) == (classes, width)
    assert found.split("train").logits is None
    np.testing.assert_array_equal(found.split("train").features, features)
    np.testing.assert_array_equal(found.split("train").labels, labels)
    assert verify_cache(path) == []
    with h5py.File(path) as file:
        assert "head" not in file


@pytest.mark.parametrize("normalise", ["none", "unit"])
def test_the_head_says_how_features_are_normalised(tmp_path, normalise):
    head = Head.from_linear(np.eye(4, 3), np.zeros(4), normalise=normalise)
    rows = SplitArrays(logits=None, labels=np.arange(4), features=features_of(1, 4))
    write_splits(tmp_path / "c.h5", {"train": rows}, head=head)
    found = open_cache(tmp_path / "c.h5")
    assert found.head.normalise == normalise
    assert found.head_fingerprint == head.fingerprint()
    with h5py.File(tmp_path / "c.h5") as file:
        assert dict(file["head"].attrs) == ({} if normalise == "none" else {"normalise": "unit"})


def test_the_fingerprint_of_a_head_knows_its_normalisation():
    plain, unit = (Head.from_linear(np.eye(3), None, normalise=n) for n in ("none", "unit"))
    assert plain.fingerprint() == Head.from_linear(np.eye(3), None).fingerprint()
    assert unit.fingerprint() != plain.fingerprint()
    with pytest.raises(CacheError, match=r"head\.normalise: one of none, unit expected, got 'l1'"):
        Head.from_linear(np.eye(3), None, normalise="l1")


def test_without_a_head_the_fingerprint_is_that_of_classes_and_width():
    def of(num_classes, width):
        split = SplitPlan(num_features=width, **ALONE)
        return plan_of({"train": split}, num_classes=num_classes, head=None).head_fingerprint

    assert of(4, 3) == of(4, 3)
    assert len({of(4, 3), of(4, 2), of(3, 3)}) == 3


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": {"num_features": 3, "has_logits": True}}, "train: features alone expected"),
        ({"train": {"num_features": 3}, "test": {"num_features": 2}}, r"those of train \(3\)"),
    ],
)
def test_plans_without_a_head_that_cannot_be(splits, message):
    plans = {name: SplitPlan(**{**ALONE, **given}) for name, given in splits.items()}
    with pytest.raises(CacheError, match=message):
        plan_of(plans, head=None)


def test_logits_without_their_head_are_refused(tmp_path):
    rows = SplitArrays(logits=features_of(width=4), labels=np.zeros(5, np.int64))
    write_splits(tmp_path / "c.h5", {"train": rows})
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        del file["head"]
    sum_anew(tmp_path / "c.h5")
    with pytest.raises(CacheError, match="train: features alone expected without a head"):
        open_cache(tmp_path / "c.h5")


def test_a_killed_writer_of_features_goes_on_and_another_plan_is_refused(tmp_path):
    split, features = SplitPlan(num_features=3, **ALONE), features_of()[0]
    plan = plan_of({"train": split}, head=None)
    path = tmp_path / "c.h5"
    with suppress(KeyError), CacheWriter(path, plan, resumable=True) as writer:
        writer.write_block("train", view=0, start=0, features=features[:3])
        raise KeyError
    other = plan_of(
        {"train": SplitPlan(num_features=3, **ALONE)}, head=Head.from_linear(np.eye(4, 3), None)
    )
    with (
        pytest.raises(StaleCacheError, match="got head: "),
        CacheWriter(path, other, resumable=True),
    ):
        pass
    with CacheWriter(path, plan, resumable=True) as writer:
        assert writer.num_rows_kept == 3
        writer.write_block("train", view=0, start=3, features=features[3:])
        writer.write_labels("train", np.arange(5) % 4)
    np.testing.assert_array_equal(open_cache(path).split("train").features[0], features)
