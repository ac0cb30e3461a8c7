"""What is damaged, changes or leads elsewhere is refused before a number of it is used."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from marr_pipeline.cache import CacheError, contents, open_cache, sealed, verify_cache

UNSEALED = Path(__file__).with_name("version-1.0-float16-without-seal.h5")
ENDLESS_BIT = 5514  # of that file: HDF5 2.0 opens it for ever
SMALL = [
    *("class_counts", "head/weight_norm", "head/weight", "head/bias", "head/prior_counts"),
    *("splits/train/labels", "splits/test/labels", "splits/train/ids", "splits/test/ids"),
]


def place_of(path, name):
    """First byte and length of a dataset."""
    with h5py.File(path, "r") as file:
        return file[name].id.get_offset(), file[name].nbytes


def put(path, offset, content):
    """Bytes into the file as it lies, at a time of its own."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
    later = time.time_ns() + 1_000_000_000
    os.utime(path, ns=(later, later))


@pytest.mark.parametrize("name", SMALL)
def test_every_bit_of_the_small_arrays_is_compared_on_opening(sample, name):
    offset, size = place_of(sample, name)
    content = sample.read_bytes()
    for bit in range(0, 8 * size, 13):
        flipped = content[offset + bit // 8] ^ 1 << bit % 8
        put(sample, offset + bit // 8, bytes([flipped]))
        with pytest.raises(CacheError, match=f"/{name}: CRC-32 .* expected, got .* is damaged"):
            open_cache(sample)
        put(sample, offset + bit // 8, content[offset + bit // 8 : offset + bit // 8 + 1])
    open_cache(sample)


@pytest.mark.parametrize("name", ["splits/train/logits", "splits/train/features"])
def test_rows_are_compared_when_they_are_asked_for(sample, flip, name):
    offset, size = place_of(sample, name)
    flip(offset + size - 1)
    split = open_cache(sample).split("train")
    with pytest.raises(CacheError, match=f"/{name}: CRC-32"):
        getattr(split, name.split("/")[-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("is_large", [False, True])
def test_rows_that_are_not_finite_are_named(sample, edit, monkeypatch, dtype, value, is_large):
    """Written so by another program, with checksums that hold."""
    with edit() as file:
        rows, views = file["splits/train/logits"][...], file["splits/train/logits"].attrs["views"]
        rows[1, 4, 2] = value
        del file["splits/train/logits"]
        file["splits/train/logits"] = rows.astype(dtype)
        file["splits/train/logits"].attrs["views"] = views
    monkeypatch.setattr(contents, "READ_UP_TO", 0 if is_large else 1 << 20)
    split = open_cache(sample).split("train")
    said = rf"finite numbers expected, got {value} in split train, view 1, row 4, column 2"
    with pytest.raises(CacheError, match=said):
        split.refuse_not_finite() if is_large else split.logits


def test_what_was_read_is_not_changed_any_more_and_what_is_mapped_is_told(sample, monkeypatch):
    offset, _ = place_of(sample, "splits/train/logits")
    read = open_cache(sample)
    before = read.split("train").logits.copy()
    monkeypatch.setattr(contents, "READ_UP_TO", 0)
    mapped = open_cache(sample)
    np.testing.assert_array_equal(mapped.split("train").logits, before)
    mapped.require_unchanged()
    put(sample, offset, np.float32(7.5).tobytes())
    np.testing.assert_array_equal(read.split("train").logits, before)
    read.require_unchanged()
    assert mapped.split("train").logits[0, 0, 0] == 7.5
    with pytest.raises(CacheError, match="stays as it is while it is read expected"):
        mapped.require_unchanged()


def test_a_file_that_is_replaced_or_gone_has_not_changed(sample, monkeypatch):
    monkeypatch.setattr(contents, "READ_UP_TO", 0)
    cache = open_cache(sample)
    before = cache.split("train").logits.copy()
    other = sample.with_name("other.h5")
    other.write_bytes(b"another file")
    other.replace(sample)
    cache.require_unchanged()
    sample.unlink()
    cache.require_unchanged()
    np.testing.assert_array_equal(cache.split("train").logits, before)


def test_truncated_between_opening_and_reading(sample):
    cache = open_cache(sample)
    os.truncate(sample, place_of(sample, "splits/train/logits")[0] + 4)
    with pytest.raises(CacheError, match="the file is truncated"):
        cache.split("train").logits  # noqa: B018


def soft(file):
    file["splits/tune"] = h5py.SoftLink("/splits/train")


def elsewhere(file):
    file["head/more"] = h5py.ExternalLink("/etc/hostname", "/")


def loop(file):
    file["splits/train/again"] = file["splits"]


def root(file):
    file["splits/train/root"] = file["/"]


def alias(file):
    file["splits/tune"] = file["splits/train"]


def virtual(file):
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4,))
    del file["class_counts"]
    file.create_virtual_dataset("class_counts", layout)


def external(file):
    del file["class_counts"]
    file.create_dataset("class_counts", shape=(4,), dtype="i8", external=[("/etc/hostname", 0, 32)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (soft, "/splits/tune: an object of this file expected, got a soft link"),
        (elsewhere, "/head/more: an object of this file expected, got a link to another file"),
        (loop, "an object under one name expected"),
        (root, "an object under one name expected"),
        (alias, "an object under one name expected"),
        (virtual, "/class_counts: bytes in this file expected, got a dataset of others"),
        (external, "/class_counts: bytes in this file expected, got a dataset of others"),
    ],
)
@pytest.mark.parametrize("read", [open_cache, verify_cache])
def test_what_leads_elsewhere_is_not_followed(sample, edit, change, said, read):
    with edit(sums=False) as file:
        change(file)
    with pytest.raises(CacheError, match=said):
        read(sample)


def test_counts_that_are_all_0(sample, edit):
    for name in ("class_counts", "head/prior_counts"):
        with edit() as file:
            kept = file[name][...]
            file[name][...] = 0
        with pytest.raises(CacheError, match="of at least one class expected, got zeros alone"):
            open_cache(sample)
        with edit() as file:
            file[name][...] = kept
    open_cache(sample)


def test_a_record_that_lacks_what_its_writer_puts_there(sample):
    config = open_cache(sample).meta("config")
    assert config == {"seed": 3, "name": "Zürich"}
    with pytest.raises(CacheError, match="meta/config: a record with 'dataset' expected"):
        config["dataset"]


@pytest.fixture
def endless(tmp_path):
    content = bytearray(UNSEALED.read_bytes())
    content[ENDLESS_BIT // 8] ^= 1 << ENDLESS_BIT % 8
    path = tmp_path / "endless.h5"
    path.write_bytes(content)
    return path


def test_what_hdf5_opens_for_ever_is_given_up(endless, monkeypatch):
    monkeypatch.setattr(sealed, "_REHEARSAL_SECONDS", 2)
    with pytest.raises(CacheError, match=r"endless\.h5: HDF5 records that can be read expected"):
        open_cache(endless)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_hdf5_opens_for_ever_can_be_stopped(endless, number):
    command = [sys.executable, "-m", "marr_pipeline", "inspect", str(endless)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(6)  # loaded, and at it
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.split() == ["interrupted"]


def test_texts_and_attributes_of_a_file_without_a_seal_are_compared(tmp_path):
    path = tmp_path / "unsealed.h5"
    content = bytearray(UNSEALED.read_bytes())
    content[content.index("straße".encode()) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheError, match=r"splits/train/ids: bytes 0.*is damaged"):
        open_cache(path)
