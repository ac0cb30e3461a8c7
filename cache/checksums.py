"""The two kinds of CRC-32 that every byte of a cache is under: those of datasets, and the seal.

The CRC-32 is the one of zlib, gzip and PNG. `schema` says over which bytes of a dataset and of the
attributes it is taken.

One flipped bit in HDF5's own records can send the HDF5 library into an endless loop while it opens
the file, before any checksum inside the file can be read. So the file ends in a few bytes that HDF5
ignores, and a reader compares them by plain system calls:

    the HDF5 file | a JSON object | tail

The JSON object is `{"num_bytes": E, "crc32": C, "rows": [[offset, size], ...]}`: E is the length
of the HDF5 file, `rows` are the raw bytes of the datasets, in ascending order, which HDF5 never
interprets and which have checksums of their own, and C is the CRC-32 of all other bytes before E.
The tail is 16 bytes: "MARRSEAL", then as little-endian uint32 the length of the JSON text and its
CRC-32.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import h5py
import numpy as np

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent, read_at, write_at
from marr_pipeline.cache.fingerprint import canonical_json
from marr_pipeline.cache.schema import CHECKSUM_BYTES, CHECKSUMS, text

_MAGIC = b"MARRSEAL"
_TAIL = struct.Struct("<8sII")
_DAMAGED = "the file is damaged or was changed by another program: write or copy it again"


def walk_datasets(group: h5py.Group) -> Iterator[str]:
    """Paths of all datasets that carry a checksum, in the order of their names."""
    for name in group:
        path = f"{group.name}/{name}".lstrip("/")
        if path == CHECKSUMS:
            continue
        if group.get(name, getclass=True) is h5py.Group:
            yield from walk_datasets(group[name])
        else:
            yield path


def is_variable_text(dtype: np.dtype[np.generic]) -> bool:
    """Whether the strings lie in HDF5's heap: only those of variable length do."""
    kind = h5py.check_string_dtype(dtype)
    return kind is not None and kind.length is None


def raw_extents(file: h5py.File) -> list[Extent]:
    """Places of the datasets whose bytes HDF5 hands on without interpreting them.

    Raises:
        CacheError: one is not contiguous.
    """
    datasets = (file[name] for name in walk_datasets(file))
    return [Extent.of(dataset) for dataset in datasets if not is_variable_text(dataset.dtype)]


def dataset_blocks(dataset: h5py.Dataset, descriptor: int) -> Iterator[bytes]:
    """The bytes that a dataset's checksums are taken over, 4 MiB at a time.

    Args:
        dataset: numbers or strings.
        descriptor: the same file, open for reading.

    Raises:
        CacheError: the file ends inside the dataset, or the dataset is not contiguous.
    """
    if is_variable_text(dataset.dtype):
        joined = b"\0".join(np.atleast_1d(dataset[()]))
        # An empty string has no bytes but still one checksum.
        for start in range(0, max(len(joined), 1), CHECKSUM_BYTES):
            yield joined[start : start + CHECKSUM_BYTES]
        return
    extent = Extent.of(dataset)
    for start in range(0, extent.num_bytes, CHECKSUM_BYTES):
        size = min(CHECKSUM_BYTES, extent.num_bytes - start)
        block = read_at(descriptor, size, extent.offset + start)
        if len(block) != size:
            raise CacheError(
                f"{dataset.file.filename}: {dataset.name}: {size} bytes at {extent.offset + start} "
                f"expected, got {len(block)}; the file is truncated: write or copy it again"
            )
        yield block


def dataset_checksums(dataset: h5py.Dataset, descriptor: int) -> list[int]:
    """One CRC-32 for each 4 MiB; arguments and errors as for `dataset_blocks`."""
    return [zlib.crc32(block) for block in dataset_blocks(dataset, descriptor)]


def attributes_checksum(file: h5py.File) -> int:
    """CRC-32 of the attributes of the root and of all datasets."""
    owners = {"/": file, **{path: file[path] for path in walk_datasets(file)}}
    values = {
        path: {name: _plain(value) for name, value in owner.attrs.items()}
        for path, owner in owners.items()
        if len(owner.attrs) > 0
    }
    return zlib.crc32(canonical_json(values, where="attributes").encode())


def _plain(value: object) -> object:
    """An attribute as JSON: a string or a list of strings."""
    if isinstance(value, np.ndarray):
        return [text(item) for item in value.tolist()]
    return text(value)


@dataclass(frozen=True, kw_only=True)
class Seal:
    """What the end of a sealed file says of the bytes before it.

    Attributes:
        num_bytes: length of the HDF5 file in bytes.
        crc32: of its bytes outside `rows`.
        rows: offset and size in bytes of each stretch left out, in ascending order.
    """

    num_bytes: int
    crc32: int
    rows: tuple[tuple[int, int], ...]

    def record_ranges(self) -> Iterator[tuple[int, int]]:
        """First and last byte (exclusive) of each stretch that the checksum is taken over."""
        start = 0
        for offset, size in (*self.rows, (self.num_bytes, 0)):
            yield start, offset
            start = offset + size


def write_seal(descriptor: int, extents: Iterable[Extent]) -> None:
    """Append the seal to a finished HDF5 file; `extents` have checksums of their own."""
    num_bytes = os.fstat(descriptor).st_size
    rows = tuple(sorted((extent.offset, extent.num_bytes) for extent in extents))
    crc32 = _records_checksum(descriptor, Seal(num_bytes=num_bytes, crc32=0, rows=rows))
    payload = json.dumps({"num_bytes": num_bytes, "crc32": crc32, "rows": rows}).encode()
    tail = _TAIL.pack(_MAGIC, len(payload), zlib.crc32(payload))
    write_at(descriptor, memoryview(payload + tail), num_bytes)


def read_seal(descriptor: int, *, where: str) -> Seal | None:
    """The seal at the end of a file, whose records it fits; None if the file does not end in one.

    Raises:
        CacheError: the seal is damaged, or HDF5's records are not those that it was made of.
    """
    end = os.fstat(descriptor).st_size - _TAIL.size
    tail = read_at(descriptor, _TAIL.size, max(0, end))
    if not tail.startswith(_MAGIC) or len(tail) < _TAIL.size:
        return None
    _, size, expected = _TAIL.unpack(tail)
    payload = read_at(descriptor, size, end - size) if size <= end else b""
    if len(payload) != size or zlib.crc32(payload) != expected:
        raise CacheError(
            f"{where}: a seal with CRC-32 {expected:08x} expected, got "
            f"{zlib.crc32(payload):08x}; {_DAMAGED}"
        )
    # From here on these are the bytes that `write_seal` wrote.
    stored = cast("dict[str, object]", json.loads(payload))
    seal = Seal(
        num_bytes=cast("int", stored["num_bytes"]),
        crc32=cast("int", stored["crc32"]),
        rows=tuple((offset, size) for offset, size in cast("list[list[int]]", stored["rows"])),
    )
    if seal.num_bytes != end - size:
        raise CacheError(
            f"{where}: {seal.num_bytes} bytes of HDF5 before its seal expected, got {end - size}; "
            f"{_DAMAGED}"
        )
    actual = _records_checksum(descriptor, seal)
    if actual != seal.crc32:
        raise CacheError(
            f"{where}: HDF5 records with CRC-32 {seal.crc32:08x} expected, got {actual:08x}; "
            f"{_DAMAGED}"
        )
    return seal


def _records_checksum(descriptor: int, seal: Seal) -> int:
    checksum = 0
    for start, stop in seal.record_ranges():
        for offset in range(start, stop, CHECKSUM_BYTES):
            block = read_at(descriptor, min(CHECKSUM_BYTES, stop - offset), offset)
            checksum = zlib.crc32(block, checksum)
    return checksum
