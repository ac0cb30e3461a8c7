"""Arrays of others: read as they are, or refused in one clear line."""

import re

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from cache import CacheError, SplitArrays, read_npz_split, write_arrays

LOGITS = np.random.default_rng(0).standard_normal((6, 3))
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def save(tmp_path):
    def save_as(**arrays):
        path = tmp_path / "split.npz"
        np.savez(path, **arrays)
        return path

    return save_as


def test_one_view_in_double_precision(save):
    split = read_npz_split(save(logits=LOGITS, labels=LABELS.astype(np.uint8)))
    assert split.logits.dtype == np.float32
    np.testing.assert_array_equal(split.logits, LOGITS.astype(np.float32)[None])
    assert split.labels.dtype == np.int64
    np.testing.assert_array_equal(split.labels, LABELS)
    assert split.features is None
    assert split.ids is None
    assert split.views is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4"])
def test_several_views_keep_their_precision(save, dtype):
    logits = np.stack([LOGITS, -LOGITS]).astype(dtype)
    features = np.ones((2, 6, 5), dtype)
    split = read_npz_split(save(logits=logits, labels=LABELS, features=features))
    np.testing.assert_array_equal(split.logits, logits)
    assert split.logits.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(split.features, features)


@pytest.mark.parametrize(
    "ids", [["a", "ü", "c", "d", "e", "f"], [b"a", "ü".encode(), b"c", b"d", b"e", b"f"]]
)
def test_ids_of_text(save, ids):
    split = read_npz_split(save(logits=LOGITS, labels=LABELS, ids=np.array(ids)))
    assert split.ids == ["a", "ü", "c", "d", "e", "f"]


def test_ids_of_integers(save):
    split = read_npz_split(save(logits=LOGITS, labels=LABELS, ids=np.arange(6, dtype=np.int16)))
    np.testing.assert_array_equal(split.ids, np.arange(6))
    assert split.ids.dtype == np.int64


def test_log_probabilities_are_logits(save):
    split = read_npz_split(save(logits=log_softmax(LOGITS, axis=1), labels=LABELS))
    assert split.logits.max() < 0


def test_rows_within_0_and_1_that_do_not_sum_to_1_are_logits(save):
    split = read_npz_split(save(logits=np.full((6, 3), 0.25), labels=LABELS))
    assert split.logits.max() == 0.25


def with_nan(row):
    logits = LOGITS.copy()
    logits[row, 1] = np.nan
    return logits


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"outputs": LOGITS, "labels": LABELS}, "got outputs, labels; save logits under that name"),
        ({"logits": LOGITS}, "got logits; save labels under that name"),
        ({"logits": LOGITS[0], "labels": LABELS}, r"expected, got \(3,\)"),
        ({"logits": LOGITS[:0], "labels": LABELS[:0]}, r"without an empty axis .* \(0, 3\)"),
        ({"logits": LOGITS[:, :1], "labels": LABELS}, "at least 2 classes expected, got 1"),
        ({"logits": LOGITS.astype(int), "labels": LABELS}, "floating numbers expected, got int64"),
        ({"logits": LOGITS, "labels": LABELS[:4]}, r"shape \(6,\).* got \(4,\)"),
        ({"logits": LOGITS, "labels": LABELS[:, None]}, r"got \(6, 1\)"),
        ({"logits": LOGITS, "labels": LABELS * 1.0}, "labels: integers expected, got float64"),
        ({"logits": LOGITS, "labels": LABELS + 1}, "ids in 0..2 expected, got 3 in row 2"),
        ({"logits": LOGITS, "labels": LABELS - 1}, "ids in 0..2 expected, got -1 in row 0"),
        ({"logits": with_nan(4), "labels": LABELS}, "finite float32 expected, got nan in row 4"),
        ({"logits": LOGITS + 1e39, "labels": LABELS}, "got inf in row 0"),
        (
            {"logits": np.stack([LOGITS, with_nan(2)]), "labels": LABELS},
            "got nan in row 2 of view 1",
        ),
        ({"logits": softmax(LOGITS, axis=1), "labels": LABELS}, "or log-probabilities"),
        (
            {"logits": softmax(LOGITS, axis=1).astype(np.float16), "labels": LABELS},
            "looks like probabilities",
        ),
        ({"logits": LOGITS, "labels": LABELS, "features": LOGITS[:5]}, "got 1 and 5"),
        ({"logits": LOGITS, "labels": LABELS, "features": with_nan(1)}, "features: finite"),
        ({"logits": LOGITS, "labels": LABELS, "ids": np.arange(5)}, "6 strings or integers"),
        ({"logits": LOGITS, "labels": LABELS, "ids": LOGITS[:, 0]}, "6 strings or integers"),
        ({"logits": LOGITS, "labels": LABELS, "ids": np.array([b"\xff"] * 6)}, "UTF-8 expected"),
        ({"logits": np.array([[1.0, None]]), "labels": LABELS[:1]}, "archive of plain arrays"),
    ],
)
def test_refusals_name_the_file(save, arrays, message):
    path = save(**arrays)
    with pytest.raises(CacheError, match=message) as caught:
        read_npz_split(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken"])
def test_what_is_no_npz(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(CacheError, match=re.escape(f"{path}: an .npz archive")):
        read_npz_split(path)


def test_a_single_array(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, LOGITS)
    with pytest.raises(CacheError, match="got a single array"):
        read_npz_split(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(CacheError, match="No such file"):
        read_npz_split(tmp_path / "none.npz")


def test_a_damaged_archive(save):
    path = save(logits=LOGITS, labels=LABELS)
    content = bytearray(path.read_bytes())
    content[150] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CacheError, match=r"an \.npz archive of plain arrays expected"):
        read_npz_split(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (SplitArrays(logits=LOGITS, labels=LABELS), r"logits \(V, N, K\) expected, got \(6, 3\)"),
        (
            SplitArrays(logits=LOGITS[None], labels=LABELS, features=LOGITS),
            r"features \(1, 6, D\) expected",
        ),
        (
            SplitArrays(logits=LOGITS[None], labels=LABELS, views=("clean", "augmented")),
            "1 names of views expected, got 2",
        ),
    ],
)
def test_arrays_that_do_not_fit_each_other(tmp_path, settings, arrays, message):
    with pytest.raises(CacheError, match=message):
        write_arrays(tmp_path / "x.h5", splits={"train": arrays}, **settings)
