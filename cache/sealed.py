"""A sealed cache: the seal behind the HDF5 file, and opening it.

One flipped bit in HDF5's own records can send the HDF5 library into an endless loop while it opens
the file, before any checksum inside the file can be read. So the file ends in a few bytes that HDF5
ignores, and a reader compares them by plain system calls:

    the HDF5 file | a JSON object | tail

The JSON object is `{"num_bytes": E, "crc32": C, "rows": [[offset, size], ...]}`: E is the length
of the HDF5 file, `rows` are the raw bytes of the datasets, in ascending order, which HDF5 never
interprets and which have checksums of their own, and C is the CRC-32 of all other bytes before E.
The tail is 16 bytes: "MARRSEAL", then as little-endian uint32 the length of the JSON text and its
CRC-32.

A file that does not end so, of version 1.0 or of another program, is first opened in a process of
its own: an endless loop, which no signal ends from within, ends with that process.
"""

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import h5py

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent, is_variable_text, read_at, write_at
from marr_pipeline.cache.schema import CHECKSUM_BYTES, CHECKSUMS, check_header
from marr_pipeline.cache.stored import DAMAGED, HeldFile, StoredArray
from marr_pipeline.cache.tree import open_datasets

_MAGIC = b"MARRSEAL"
_TAIL = struct.Struct("<8sII")

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Of HDF5's superblock, versions 2 and 3: its version, and where the file ends.
_SUPERBLOCK = struct.Struct("<8xB19xQ")
_TRUNCATED = "a whole file expected, got a truncated one; write or copy it again"

_REHEARSAL_SECONDS = 60
_REHEARSE = """
import sys
sys.path[:] = sys.argv[2:]
from marr_pipeline.cache.sealed import rehearse
rehearse(sys.argv[1])
"""


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
            f"{zlib.crc32(payload):08x}; {DAMAGED}"
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
            f"{DAMAGED}"
        )
    actual = _records_checksum(descriptor, seal)
    if actual != seal.crc32:
        raise CacheError(
            f"{where}: HDF5 records with CRC-32 {seal.crc32:08x} expected, got {actual:08x}; "
            f"{DAMAGED}"
        )
    return seal


def _records_checksum(descriptor: int, seal: Seal) -> int:
    checksum = 0
    for start, stop in seal.record_ranges():
        for offset in range(start, stop, CHECKSUM_BYTES):
            block = read_at(descriptor, min(CHECKSUM_BYTES, stop - offset), offset)
            checksum = zlib.crc32(block, checksum)
    return checksum


@dataclass(frozen=True, kw_only=True)
class OpenedCache:
    """A sealed cache while HDF5 has it open.

    Attributes:
        path: as it was given.
        file: closed at the end of the block.
        datasets: every one by its path, those of checksums too.
        held: the same file, which stays open as long as something is to be read of it.
        has_seal: whether HDF5's records were compared before it opened the file.
    """

    path: Path
    file: h5py.File
    datasets: dict[str, h5py.Dataset]
    held: HeldFile
    has_seal: bool

    def summed(self) -> dict[str, h5py.Dataset]:
        """The datasets that have checksums: all but these."""
        prefix = f"{CHECKSUMS}/"
        return {name: one for name, one in self.datasets.items() if not name.startswith(prefix)}

    def sums_of(self, name: str) -> tuple[int, ...]:
        """CRC-32 of every 4 MiB of a dataset; none where none are stored."""
        stored = self.datasets.get(f"{CHECKSUMS}/{name}")
        return () if stored is None else tuple(stored[...].tolist())

    def stored(self, name: str) -> StoredArray:
        """The numbers, or strings of fixed length, of a dataset that is there.

        Raises:
            CacheError: it is not contiguous, or reaches past the end of the file.
        """
        return StoredArray(
            where=f"{self.path}: /{name}",
            extent=Extent.of(self.datasets[name]),
            sums=self.sums_of(name),
            file=self.held,
        )


@contextmanager
def opened(path: Path, *, is_rehearsed: bool = False) -> Iterator[OpenedCache]:
    """The sealed cache at `path`, read-only; HDF5 has it open until the end of the block.

    HDF5 sees the file only if its records are as they were written, or another process has come
    through with it, and only with every link in place.

    No lock is taken: a sealed file is never written again, only replaced as a whole, and on
    network file systems asking for one is the most common failure (HDF5's "best-effort" forgives
    a file system without the call, but not one that answers "no locks available").

    Raises:
        CacheError: no cache of a known version, unfinished, truncated, with links to elsewhere, or
            HDF5 fails inside it.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise CacheError(f"{path}: a cache file expected, got {found}; check the path")
    try:
        held = HeldFile(path)
        has_seal = read_seal(held.descriptor, where=str(path)) is not None
        if not has_seal and not is_rehearsed:
            _check_beginning(held, where=str(path))
            _rehearse_elsewhere(path)
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise CacheError(f"{path}: {_why_not_open(error)}") from error
    with file:
        if not os.path.sameopenfile(held.descriptor, file.id.get_vfd_handle()):
            raise CacheError(
                f"{path}: one file expected, got another while it was opened; run it again"
            )
        try:
            check_header(file, has_seal=has_seal)
            datasets = open_datasets(file)
            yield OpenedCache(path=path, file=file, datasets=datasets, held=held, has_seal=has_seal)
        except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
            raise CacheError(
                f"{path}: readable HDF5 records expected, got {error}; "
                "the file is damaged: run `pipeline verify`, then write or copy it again"
            ) from error


def _check_beginning(held: HeldFile, *, where: str) -> None:
    """Refuse what need not be shown to HDF5: a file of another kind, or one cut short."""
    head = read_at(held.descriptor, _SUPERBLOCK.size, 0)
    if not head.startswith(_SIGNATURE[: len(head)]) or not head:
        raise CacheError(
            f"{where}: an HDF5 file expected, got something else; "
            "make a cache with `pipeline extract` or `pipeline import`"
        )
    version, end = _SUPERBLOCK.unpack(head) if len(head) == _SUPERBLOCK.size else (2, 1)
    if version in (2, 3) and held.num_bytes < end:
        raise CacheError(f"{where}: {_TRUNCATED}")


def _rehearse_elsewhere(path: Path) -> None:
    """Raise a CacheError unless another process comes through all that HDF5 reads of a file."""
    command = [sys.executable, "-c", _REHEARSE, str(path), *sys.path]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_REHEARSAL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        found = f"nothing from HDF5 in {_REHEARSAL_SECONDS} s"
    else:
        if done.returncode == 0:
            return
        said = done.stdout.decode("utf-8", "replace")
        if said:
            raise CacheError(said)
        found = f"an end of HDF5 with exit code {done.returncode}"
    raise CacheError(
        f"{path}: HDF5 records that can be read expected, got {found}; the file is damaged: "
        "copy or write it again"
    )


def rehearse(path: str) -> None:
    """Read what HDF5 interprets of a file; what is wrong goes to stdout, with exit code 3."""
    try:
        with opened(Path(path), is_rehearsed=True) as found:
            for owner in (found.file, *found.datasets.values()):
                dict(owner.attrs)
            for name, one in found.datasets.items():
                if name.startswith(CHECKSUMS) or is_variable_text(one.dtype):
                    one[()]
    except CacheError as error:
        sys.stdout.buffer.write(str(error).encode("utf-8", "replace"))
        sys.exit(3)


def _why_not_open(error: OSError) -> str:
    message = str(error)
    if "truncated" in message or "eof" in message:
        return _TRUNCATED
    if isinstance(error, PermissionError):
        return "a readable file expected, got no permission; ask its owner"
    return f"a readable HDF5 file expected, got {message!r}; write or copy it again"
