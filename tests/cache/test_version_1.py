"""Files of version 1 are readable forever: every value of five, written once for all."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from marr_pipeline.cache import Cache, open_cache, verify_cache

FILES = {
    "version-1.2-float32.h5": np.float32,
    "version-1.1-float32.h5": np.float32,
    "version-1.0-float32.h5": np.float32,
    "version-1.0-float16-without-seal.h5": np.float16,  # as written before there was a seal
}


@pytest.fixture(params=FILES, scope="module")
def path(request) -> Path:
    return Path(__file__).with_name(request.param)


@pytest.fixture(scope="module")
def cache(path) -> Cache:
    return open_cache(path)


def eighths(*shape: int) -> np.ndarray:
    """-2, -1.875, -1.75, ...: exact in float16."""
    return np.arange(np.prod(shape)).reshape(shape) / 8 - 2


def test_it_is_sound(path):
    assert verify_cache(path) == []


def test_the_splits(cache, path):
    assert list(cache.splits) == ["train", "tune", "test"]
    views = {"train": ("clean", "augmented"), "tune": ("augmented",), "test": ("augmented",)}
    labels = {"train": [0, 0, 0, 1, 1, 2], "tune": [2], "test": [2, 1, 0, 2]}
    for name, split in cache.splits.items():
        assert split.views == views[name]
        assert split.labels.tolist() == labels[name]
        assert split.logits.dtype == FILES[path.name]
        shape = (len(views[name]), len(labels[name]), 3)
        np.testing.assert_array_equal(split.logits, eighths(*shape))
    np.testing.assert_array_equal(cache.split("train").features, eighths(2, 6, 2))
    assert cache.split("tune").features is None
    assert cache.split("test").features is None


def test_the_ids(cache):
    assert cache.split("train").ids == [f"straße/{index}.png" for index in range(6)]
    assert cache.split("tune").ids is None
    assert cache.split("test").ids.tolist() == [7, -1, 0, 2**40]


def test_the_head_and_the_classes(cache):
    assert cache.class_counts.tolist() == [3, 2, 1]
    assert cache.class_names == ["cat", "dög", ""]
    assert cache.head.weight.tolist() == [[3, 4], [0, 1], [6, 8]]
    assert cache.head.bias.tolist() == [0.5, 0, -0.5]
    assert cache.head.weight_norm.tolist() == [5, 1, 10]
    assert cache.head.prior_counts.tolist() == [30, 20, 10]
    # Rectifiers carry it, so it may never be computed in another way.
    assert cache.head.fingerprint() == (
        "27e87a6f747baf1433ad55fb9e3c0f6b82a66e157f30dc4b03d92f6803908968"
    )
    assert cache.head_fingerprint == cache.head.fingerprint()


def test_the_provenance(cache, path):
    assert cache.parts == {"weights": "abc", "transforms": {"flip": True}}
    text = b'{"transforms":{"flip":true},"weights":"abc"}'
    assert cache.fingerprint == hashlib.sha256(text).hexdigest()
    assert sorted(cache.documents) == ["config", "indices"]
    assert cache.meta("config") == {"seed": 3}
    assert cache.meta("indices") == {"train": [5, 1]}
    assert cache.attributes["format_version"] == path.name.split("-")[1]
    assert cache.attributes["creator"] == "marr-pipeline 0.1.0"
    assert cache.attributes["torch_version"] == "2.6"
    assert cache.attributes["created_utc"].endswith("Z")


def test_features_alone():
    cache = open_cache(Path(__file__).with_name("version-1.2-features.h5"))
    assert verify_cache(cache.path) == []
    assert cache.head is None
    assert list(cache.splits) == ["train", "test"]
    assert cache.split("train").logits is cache.split("test").logits is None
    np.testing.assert_array_equal(cache.split("train").features, eighths(2, 6, 2))
    np.testing.assert_array_equal(cache.split("test").features, eighths(1, 4, 2))
    assert cache.split("train").labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert cache.split("train").views == ("clean", "augmented")
    assert cache.split("test").ids.tolist() == [7, -1, 0, 2**40]
    assert cache.class_counts.tolist() == [3, 2, 1]
    # Rectifiers carry it, so it may never be computed in another way.
    assert cache.head_fingerprint == hashlib.sha256(b"no head;3;2;").hexdigest()
