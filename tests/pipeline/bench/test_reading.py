import numpy as np
import pytest

from cache import CacheError, Head, SplitArrays, write_arrays
from pipeline.bench.reading import SealedFile, measure_reading, random_batches
from pipeline.bench.settings import ReadSettings
from pipeline.cli.bench.file import sealed_file
from pipeline.errors import ConfigError

SETTINGS = ReadSettings(repeat=1, batch_rows=5, num_batches=3)


@pytest.fixture
def write_rows(tmp_path):
    """A cache of V views of 40 rows over 3 classes, with their logits."""

    def write(num_views):
        path = tmp_path / "rows.h5"
        logits = np.random.default_rng(0).standard_normal((num_views, 40, 3), dtype=np.float32)
        write_arrays(
            path,
            class_counts=np.array([20, 15, 5]),
            head=Head(weight_norm=np.ones(3)),
            splits={"train": SplitArrays(logits=logits, labels=np.arange(40) % 3)},
            parts={},
            meta={},
            creator="test",
            libraries={},
        )
        return path, logits.reshape(-1, 3)

    return write


@pytest.mark.parametrize("num_views", [1, 2])
def test_all_ways_to_read_lead_to_the_same_rows(write_rows, num_views):
    path, logits = write_rows(num_views)
    file = sealed_file(path, split="train")
    assert file.num_samples == 40
    np.testing.assert_array_equal(file.open(), logits)
    stored = np.fromfile(path, np.float32, logits.size, offset=file.offset)
    np.testing.assert_array_equal(stored, logits.ravel())
    file.verify()
    file.index([np.array([0, 3, 39])])


def test_a_damaged_file_is_not_timed(write_rows):
    path, _ = write_rows(1)
    file = sealed_file(path, split="train")
    content = bytearray(path.read_bytes())
    content[file.offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheError, match="an undamaged file expected, got splits/train/logits"):
        measure_reading(file, SETTINGS)


def test_every_way_goes_over_what_it_says(write_rows, monkeypatch):
    path, logits = write_rows(2)
    monkeypatch.setattr("pipeline.bench.reading.BLOCK_BYTES", 7 * logits.itemsize * 3)
    asked = []
    real = sealed_file(path, split="train")
    file = SealedFile(
        path=path,
        offset=real.offset,
        num_samples=real.num_samples,
        open=real.open,
        verify=real.verify,
        index=asked.append,
    )
    rates = measure_reading(file, SETTINGS).rates
    assert {name: (rate.amount, rate.unit) for name, rate in rates.items()} == {
        "open": (1, "files"),
        "fromfile": (logits.nbytes, "bytes"),
        "mapped": (logits.nbytes, "bytes"),
        "verify": (path.stat().st_size, "bytes"),
        "batches": (15, "rows"),
        "h5py": (15, "rows"),
    }
    assert len(asked) == 2  # the first turn warms up
    assert all((np.diff(rows) > 0).all() for batches in asked for rows in batches)


def test_ratios_are_those_of_the_rates(write_rows):
    reading = measure_reading(sealed_file(write_rows(1)[0], split="train"), SETTINGS)
    document = reading.document()
    for name, ratio in document["ratios"].items():
        upper, lower = (document[part] for part in name.split("_to_"))
        assert ratio["best"] == pytest.approx(upper["per_second"] / lower["per_second"])
    assert set(document["ratios"]) == {"mapped_to_fromfile", "batches_to_h5py"}


def test_minibatches_hold_distinct_rows_in_no_order_and_repeat_by_seed():
    batches = random_batches(100, ReadSettings(batch_rows=60, num_batches=4))
    for rows in batches:
        assert len(set(rows.tolist())) == len(rows) == 60
        assert set(rows.tolist()) <= set(range(100))
        assert (np.diff(rows) < 0).any()
    again = random_batches(100, ReadSettings(batch_rows=60, num_batches=4))
    np.testing.assert_array_equal(batches, again)
    other = random_batches(100, ReadSettings(batch_rows=60, num_batches=4, seed=1))
    assert not np.array_equal(batches, other)


def test_a_minibatch_is_no_larger_than_the_split():
    assert len(random_batches(7, ReadSettings())[0]) == 7


@pytest.mark.parametrize("field", ["repeat", "batch_rows", "num_batches"])
def test_settings_check_themselves(field):
    with pytest.raises(ConfigError, match="at least 1 expected, got 0"):
        ReadSettings(**{field: 0})
