"""HDF5 sees only records that are as they were written, whatever bit has changed."""

import os
import random
import signal

import h5py
import numpy as np
import pytest
from caches import write_splits
from resumable import forked

from marr_pipeline.cache import (
    CacheError,
    SplitArrays,
    open_cache,
    verify_cache,
)
from marr_pipeline.cache.extent import Extent, is_variable_text
from marr_pipeline.cache.sealed import opened, read_seal

NUM_BITS, SECONDS = 12_000, 120


@pytest.fixture
def tiny(tmp_path):
    """The smallest useful cache: mostly records, so that most bits are HDF5's own."""
    path = tmp_path / "tiny.h5"
    rows = SplitArrays(
        logits=np.arange(6, dtype=np.float32).reshape(1, 3, 2), labels=np.array([0, 1, 1])
    )
    write_splits(path, {"train": rows}, class_names=["a", "b"])
    return path


def test_every_flipped_bit_is_an_error_or_found_by_verify(tiny):
    """In a process of its own with a time limit: what the seal must prevent is a hang."""

    def flip_each() -> None:
        signal.alarm(SECONDS)
        content = tiny.read_bytes()
        unseen = []
        with tiny.open("r+b", buffering=0) as file:
            for bit in random.Random(0).sample(range(8 * len(content)), NUM_BITS):
                place = bit // 8
                os.pwrite(file.fileno(), bytes([content[place] ^ (1 << bit % 8)]), place)
                try:
                    open_cache(tiny)
                    if not verify_cache(tiny):
                        unseen.append(bit)
                except CacheError as error:
                    assert str(tiny) in str(error)  # noqa: PT017
                os.pwrite(file.fileno(), content[place : place + 1], place)
        assert verify_cache(tiny) == []
        assert unseen == []

    assert forked(flip_each) == 0


def test_every_byte_belongs_to_the_seal_or_to_a_checksum(sample):
    """The stretches left out are the raw bytes of the datasets that are summed, and no others."""
    with sample.open("rb") as raw:
        seal = read_seal(raw.fileno(), where="sample")
    with opened(sample) as found:
        summed = found.summed()
        raw = [Extent.of(one) for one in summed.values() if not is_variable_text(one.dtype)]
        extents = sorted((extent.offset, extent.num_bytes) for extent in raw)
        assert {f"checksums/{name}" for name in summed} == {*found.datasets} - {*summed}
    assert list(seal.rows) == extents
    covered = np.zeros(seal.num_bytes, int)
    for start, stop in seal.record_ranges():
        covered[start:stop] += 1
    for offset, size in extents:
        covered[offset : offset + size] += 1
    assert (covered == 1).all()


def test_changed_records_are_refused_before_hdf5_sees_them(sample, flip, monkeypatch):
    flip(sample.read_bytes().index(b"tests 1.0"))
    monkeypatch.setattr(h5py, "File", None)
    with pytest.raises(CacheError, match=r"sample\.h5: HDF5 records with CRC-32 .* expected, got"):
        open_cache(sample)
    with pytest.raises(CacheError, match="damaged or was changed by another program"):
        verify_cache(sample)


def test_the_seal_is_found_without_hdf5_and_hdf5_reads_the_file_without_the_seal(sample):
    with sample.open("rb") as file:
        assert read_seal(file.fileno(), where="sample")
    content = sample.read_bytes()
    assert content.startswith(b"\x89HDF\r\n\x1a\n")
    assert content[-16:-8] == b"MARRSEAL"
    with h5py.File(sample, "r") as file:
        assert file.attrs["seal"] == "crc32"


@pytest.mark.parametrize("cut", [1, 16, 60, 200])
def test_a_seal_cut_off(sample, cut):
    sample.write_bytes(sample.read_bytes()[:-cut])
    with pytest.raises(CacheError, match="truncated"):
        open_cache(sample)


@pytest.mark.parametrize("place", [-1, -5, -8, -12, -30])
def test_a_changed_seal(sample, flip, place):
    flip(sample.stat().st_size + place)
    expected = "a seal with CRC-32 .*" if place != -12 else "a seal behind the HDF5 file"
    with pytest.raises(CacheError, match=f"{expected} expected"):
        open_cache(sample)


def test_another_program_that_changes_the_file_takes_the_seal_away(sample):
    with h5py.File(sample, "r+") as file:
        file.attrs["note"] = "mine"
    with pytest.raises(CacheError, match="truncated or was changed by another program"):
        open_cache(sample)


def test_bytes_before_the_seal_that_are_not_its_file(sample):
    sample.write_bytes(b"\0" * 512 + sample.read_bytes())
    with pytest.raises(CacheError, match="bytes of HDF5 before its seal expected"):
        open_cache(sample)
