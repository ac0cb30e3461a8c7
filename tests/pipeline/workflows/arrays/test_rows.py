"""Arrays of others: read as they are, or refused in one clear line."""

import tracemalloc

import numpy as np
import pytest
from caches import write_splits
from scipy.special import log_softmax, softmax

from marr_pipeline.cache import CacheError, open_cache, row_ranges
from marr_pipeline.errors import DataError
from marr_pipeline.workflows.arrays import map_npy
from marr_pipeline.workflows.arrays.rows import split_arrays

BLOCK_BYTES = next(row_ranges(1 << 30, 1))[1]

LOGITS = np.random.default_rng(0).standard_normal((6, 3))
LABELS = np.array([0, 1, 2, 0, 1, 2])


def read(**arrays):
    given = {name: np.asarray(array) for name, array in arrays.items()}
    return split_arrays(given, where="t.npz").arrays


def test_one_view_in_double_precision():
    split = read(logits=LOGITS, labels=LABELS.astype(np.uint8))
    np.testing.assert_array_equal(split.logits, LOGITS[None])
    assert np.shares_memory(split.logits, LOGITS)
    assert split.labels.dtype == np.int64
    np.testing.assert_array_equal(split.labels, LABELS)
    assert split.features is None
    assert split.ids is None
    assert split.views is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4"])
def test_several_views_keep_their_precision(dtype):
    logits = np.stack([LOGITS, -LOGITS]).astype(dtype)
    features = np.ones((2, 6, 5), dtype)
    split = read(logits=logits, labels=LABELS, features=features)
    np.testing.assert_array_equal(split.logits, logits)
    assert split.logits.dtype == dtype
    np.testing.assert_array_equal(split.features, features)


@pytest.mark.parametrize(
    "ids", [["a", "ü", "c", "d", "e", "f"], [b"a", "ü".encode(), b"c", b"d", b"e", b"f"]]
)
def test_ids_of_text(ids):
    split = read(logits=LOGITS, labels=LABELS, ids=np.array(ids))
    assert split.ids == ["a", "ü", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("offset", "num_lost"), [(0.0, 0), (1e3, 0), (1e8, 5)], ids=["centred", "near", "far"]
)
def test_features_whose_spread_float32_loses_are_said(offset, num_lost):
    features = np.random.default_rng(1).standard_normal((6, 5)) + offset
    features = np.concatenate([features, np.full((6, 1), 7.3)], 1)
    given = {"labels": LABELS, "features": features}
    notes = split_arrays(given, where="t.npz").notes
    expected = f"t.npz: features: {num_lost} of 6 columns vary by less than 0.0001"
    assert any(note.startswith(expected) for note in notes) == (num_lost > 0)
    stored = {"labels": LABELS, "features": features.astype(np.float32)}
    assert not any("vary" in note for note in split_arrays(stored, where="t.npz").notes)


def test_features_beyond_float32_are_refused_as_such():
    features = np.ones((6, 5))
    features[4, 1] = 1e300
    with pytest.raises(
        DataError, match=r"features: finite .* in row 4; 1e\+300 is beyond float32: scale all rows"
    ):
        read(labels=LABELS, features=features)


def test_ids_of_integers():
    split = read(logits=LOGITS, labels=LABELS, ids=np.arange(6, dtype=np.int16))
    np.testing.assert_array_equal(split.ids, np.arange(6))
    assert split.ids.dtype == np.int64


def test_log_probabilities_are_logits():
    split = read(logits=log_softmax(LOGITS, axis=1), labels=LABELS)
    assert split.logits.max() < 0


@pytest.mark.parametrize("labels", [LABELS[:, None], LABELS * 1.0, LABELS.astype(np.float16)])
def test_labels_that_are_whole_numbers_in_another_form(labels):
    found = read(logits=LOGITS, labels=labels).labels
    np.testing.assert_array_equal(found, LABELS)
    assert found.dtype == np.int64


def test_labels_that_are_booleans_are_two_classes():
    found = read(logits=LOGITS[:, :2], labels=LABELS > 0).labels
    np.testing.assert_array_equal(found, LABELS > 0)


def test_kinds_of_view_are_kept():
    rows = read(logits=[LOGITS, LOGITS], labels=LABELS, views=["clean", "augmented"])
    assert rows.views == ("clean", "augmented")


def test_a_row_of_a_later_block_is_named():
    width = 1000
    num_rows = 2 * BLOCK_BYTES // (4 * width) + 5
    logits = np.zeros((num_rows, width), np.float32)
    logits[-2, 7] = np.inf
    with pytest.raises(DataError, match=f"got inf in row {num_rows - 2}; remove"):
        read(logits=logits, labels=np.zeros(num_rows, int))


def test_mapped_arrays_become_a_cache_without_lying_in_memory(tmp_path):
    """float64, so that every block is converted: the whole would be 12 blocks."""
    width = 256
    num_rows = 12 * BLOCK_BYTES // (8 * width)
    logits = np.lib.format.open_memmap(tmp_path / "l.npy", "w+", "<f8", (num_rows, width))
    logits[:] = np.arange(width) - 1
    logits.flush()
    raw = {"logits": map_npy(tmp_path / "l.npy"), "labels": np.zeros(num_rows, np.int64)}
    tracemalloc.start()
    arrays = split_arrays(raw, where="l").arrays
    write_splits(tmp_path / "x.h5", {"train": arrays})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * BLOCK_BYTES
    found = open_cache(tmp_path / "x.h5").split("train").logits
    assert (found[0] == np.arange(width) - 1).all()


def with_nan(row):
    logits = LOGITS.copy()
    logits[row, 1] = np.nan
    return logits


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"outputs": LOGITS, "labels": LABELS}, "got outputs, labels; save logits under that name"),
        ({"logits": LOGITS}, "got logits; save labels under that name"),
        ({"logits": LOGITS[0], "labels": LABELS}, r"shape \(3,\), one for each row .* got \(6,\)"),
        ({"logits": LOGITS, "labels": LABELS + 0.5}, "integers expected, got float64"),
        ({"logits": LOGITS, "labels": LABELS + 1e20}, "integers expected, got float64"),
        ({"logits": LOGITS, "labels": LABELS[:, None, None]}, r"got \(6, 1, 1\)"),
        ({"logits": LOGITS, "labels": LABELS + 1}, "ids in 0..2 expected, got 3 in row 2"),
        ({"logits": with_nan(4), "labels": LABELS}, "finite float32 expected, got nan in row 4"),
        ({"logits": LOGITS + 1e39, "labels": LABELS}, "got inf in row 0"),
        (
            {"logits": np.stack([LOGITS, with_nan(2)]), "labels": LABELS},
            "got nan in row 2 of view 1",
        ),
        (
            {"logits": softmax(LOGITS, axis=1).astype(np.float16), "labels": LABELS},
            "looks like probabilities",
        ),
        ({"logits": LOGITS, "labels": LABELS, "features": with_nan(1)}, "features: finite"),
        ({"logits": LOGITS, "labels": LABELS, "ids": np.arange(5)}, "6 strings or integers"),
        ({"logits": LOGITS, "labels": LABELS, "ids": LOGITS[:, 0]}, "6 strings or integers"),
        ({"logits": LOGITS, "labels": LABELS, "ids": np.array([b"\xff"] * 6)}, "UTF-8 expected"),
        ({"logits": LABELS[:, None] * 1.0, "labels": LABELS}, "not the predicted class"),
        ({"logits": LOGITS, "labels": LABELS, "ids": list("abcdbf")}, "got b in rows 1 and 4"),
        ({"logits": LOGITS, "labels": LABELS, "ids": [5, 1, 2, 3, 4, 5]}, "got 5 in rows 0 and 5"),
        ({"logits": LOGITS, "labels": LABELS, "views": ["clean"] * 2}, "1 kinds of view .* got 2"),
        ({"logits": LOGITS, "labels": LABELS, "views": ["test"]}, "at most one 'clean'"),
        ({"logits": LOGITS, "labels": LABELS, "views": [1]}, "a list of strings expected"),
    ],
)
def test_refusals_name_the_file(arrays, message):
    with pytest.raises((CacheError, DataError), match=message) as caught:
        read(**arrays)
    assert str(caught.value).startswith("t.npz: ")
    assert "\n" not in str(caught.value)
