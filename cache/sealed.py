"""A sealed cache: the checksums that every byte of it is under, opening it, verifying it.

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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import h5py
import numpy as np

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent, read_at, write_at
from marr_pipeline.cache.fingerprint import canonical_json
from marr_pipeline.cache.schema import (
    CHECKSUM_BYTES,
    CHECKSUM_OF_ATTRIBUTES,
    CHECKSUMS,
    check_header,
    text,
)

_MAGIC = b"MARRSEAL"
_TAIL = struct.Struct("<8sII")
_DAMAGED = "the file is damaged or was changed by another program: write or copy it again"
# What HDF5 raises on records that make no sense any more.
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, CacheError)


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


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The sealed cache at `path`, read-only, closed at the end of the block.

    HDF5 sees the file only if its records are as they were written.

    No lock is taken: a sealed file is never written again, only replaced as a whole, and on
    network file systems asking for one is the most common failure (HDF5's "best-effort" forgives
    a file system without the call, but not one that answers "no locks available").

    Raises:
        CacheError: no cache of a known version, unfinished, truncated, or HDF5 fails inside it.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise CacheError(f"{path}: a cache file expected, got {found}; check the path")
    try:
        with path.open("rb", buffering=0) as raw:
            has_seal = read_seal(raw.fileno(), where=str(path)) is not None
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise CacheError(f"{path}: {_why_not_open(error)}") from error
    with file:
        try:
            check_header(file, has_seal=has_seal)
            yield file
        except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
            raise CacheError(
                f"{path}: readable HDF5 records expected, got {error}; "
                "the file is damaged: run `pipeline verify`, then write or copy it again"
            ) from error


def _why_not_open(error: OSError) -> str:
    message = str(error)
    if "truncated" in message or "eof" in message:
        return "a whole file expected, got a truncated one; write or copy it again"
    if "signature not found" in message:
        return (
            "an HDF5 file expected, got something else; "
            "make a cache with `pipeline extract` or `pipeline import`"
        )
    if isinstance(error, PermissionError):
        return "a readable file expected, got no permission; ask its owner"
    return f"a readable HDF5 file expected, got {message!r}; write or copy it again"


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Bytes that are not those that were written.

    Attributes:
        dataset: path of the dataset, or "attributes".
        start: first byte of the damaged stretch, counted from the dataset's own first byte.
        stop: one past its last byte; equal to start where no byte could be compared.
        reason: expected and found.
    """

    dataset: str
    start: int
    stop: int
    reason: str

    def __str__(self) -> str:
        return f"{self.dataset}: bytes {self.start}..{self.stop}: {self.reason}"


def verify_cache(
    path: Path, *, progress: Callable[[int, int, str], None] | None = None
) -> list[Damage]:
    """Read the whole file and report what has changed since it was sealed.

    Args:
        path: the cache.
        progress: called with bytes done, bytes in all, and the dataset at hand.

    Returns:
        The damage found, empty if there is none.

    Raises:
        CacheError: the file cannot even be opened as a sealed cache.
    """
    with opened(path) as file:
        try:
            names = list(walk_datasets(file))
            summed = {name.removeprefix(f"{CHECKSUMS}/") for name in walk_datasets(file[CHECKSUMS])}
        except _HDF5_ERRORS as error:
            return [_unreadable("/", error)]
        found = [
            Damage(dataset=name, start=0, stop=0, reason="a checksum is stored, but no dataset")
            for name in sorted(summed.difference(names))
        ]
        sizes = {name: _num_bytes(file, name) for name in names}
        total, done = sum(sizes.values()), 0
        for name in names:
            try:
                for stop, damage in _check_blocks(file, name):
                    found.extend(damage)
                    if progress is not None:
                        progress(done + min(stop, sizes[name]), total, name)
            except _HDF5_ERRORS as error:
                found.append(_unreadable(name, error))
            done += sizes[name]
        if progress is not None:
            progress(total, total, CHECKSUM_OF_ATTRIBUTES)
        found.extend(_check_attributes(file))
    return found


def _check_blocks(file: h5py.File, name: str) -> Iterator[tuple[int, list[Damage]]]:
    """End and damage of each 4 MiB of a dataset."""
    sums = file[f"{CHECKSUMS}/{name}"][...].tolist()
    descriptor = file.id.get_vfd_handle()
    start = index = 0
    for index, block in enumerate(dataset_blocks(file[name], descriptor), start=1):
        stop = start + len(block)
        actual = zlib.crc32(block)
        expected = sums[index - 1] if index <= len(sums) else None
        damage = []
        if actual != expected:
            wanted = "none stored" if expected is None else f"{expected:08x}"
            reason = f"CRC-32 {wanted} expected, got {actual:08x}"
            damage.append(Damage(dataset=name, start=start, stop=stop, reason=reason))
        yield stop, damage
        start = stop
    if index < len(sums):
        reason = f"{len(sums)} checksums are stored, but it has {index} blocks"
        yield start, [Damage(dataset=name, start=start, stop=start, reason=reason)]


def _check_attributes(file: h5py.File) -> list[Damage]:
    try:
        expected = int(file[CHECKSUMS].attrs[CHECKSUM_OF_ATTRIBUTES])
        actual = attributes_checksum(file)
    except _HDF5_ERRORS as error:
        return [_unreadable(CHECKSUM_OF_ATTRIBUTES, error)]
    if actual == expected:
        return []
    reason = f"CRC-32 {expected:08x} expected, got {actual:08x}"
    return [Damage(dataset=CHECKSUM_OF_ATTRIBUTES, start=0, stop=0, reason=reason)]


def _num_bytes(file: h5py.File, name: str) -> int:
    """Size of a dataset, for the progress shown; 0 if HDF5 cannot open it, reported in its turn."""
    try:
        return int(file[name].nbytes)
    except _HDF5_ERRORS:
        return 0


def _unreadable(dataset: str, error: Exception) -> Damage:
    return Damage(dataset=dataset, start=0, stop=0, reason=f"HDF5 cannot read it: {error}")
