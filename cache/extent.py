"""Where the bytes of a dataset lie in the file, how they are read and written, and which of them
the checksums are taken over.

A contiguous HDF5 dataset is one run of bytes at a fixed offset. Knowing it, a writer can put rows
in place with plain system calls, with no HDF5 file open during hours of extraction (an HDF5 handle
must not cross a fork, and a killed process leaves one unreadable); a reader can map the rows.

The CRC-32 is the one of zlib, gzip and PNG. `schema` says over which bytes of a dataset and of the
attributes it is taken.

What the disk refuses is an OSError here and in every module on top of this one, until the writer
makes one line of it (`errors.write_errors`).
"""

import math
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import h5py
import numpy as np

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.fingerprint import canonical_json
from marr_pipeline.cache.schema import CHECKSUM_BYTES, text


@dataclass(frozen=True, kw_only=True)
class Extent:
    """A dataset's place: offset in bytes from the start of the file, shape, dtype."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def num_bytes(self) -> int:
        """Length in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def row_bytes(self) -> int:
        """Length in bytes of one row, of a matrix or several."""
        return self.shape[-1] * self.dtype.itemsize

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> "Extent":
        """Place of a contiguous dataset.

        Raises:
            CacheError: its bytes are chunked, compressed, in another file, or not there at all.
        """
        offset = dataset.id.get_offset()
        if offset is None:
            raise CacheError(
                f"{dataset.file.filename}: {dataset.name}: contiguous bytes in this file "
                "expected, got another layout; write the cache again"
            )
        return cls(offset=int(offset), shape=tuple(dataset.shape), dtype=dataset.dtype)

    def blocks(self, descriptor: int, *, where: str) -> Iterator[bytes]:
        """The bytes that a checksum each is taken over, 4 MiB or what is left.

        Raises:
            CacheError: the file ends before they do.
        """
        for start in range(0, self.num_bytes, CHECKSUM_BYTES):
            size = min(CHECKSUM_BYTES, self.num_bytes - start)
            block = read_at(descriptor, size, self.offset + start)
            if len(block) != size:
                raise CacheError(
                    f"{where}: {size} bytes at {self.offset + start} expected, got {len(block)}; "
                    "the file is truncated: write or copy it again"
                )
            yield block


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Bytes at an offset, fewer where the file ends."""
    if not hasattr(os, "pread"):  # Windows
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)
    return os.pread(descriptor, size, offset)


def write_at(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all bytes at an offset; a system call may take only some of them."""
    while len(content) > 0:
        if not hasattr(os, "pwrite"):
            os.lseek(descriptor, offset, os.SEEK_SET)
            num_written = os.write(descriptor, content)
        else:
            num_written = os.pwrite(descriptor, content, offset)
        content, offset = content[num_written:], offset + num_written


def is_variable_text(dtype: np.dtype[np.generic]) -> bool:
    """Whether the strings lie in HDF5's heap: only those of variable length do."""
    kind = h5py.check_string_dtype(dtype)
    return kind is not None and kind.length is None


def dataset_blocks(dataset: h5py.Dataset, descriptor: int) -> Iterator[bytes]:
    """The bytes that a dataset's checksums are taken over, 4 MiB at a time.

    Args:
        dataset: numbers or strings.
        descriptor: the same file, open for reading.

    Raises:
        CacheError: the file ends inside the dataset, or the dataset is not contiguous.
    """
    if not is_variable_text(dataset.dtype):
        where = f"{dataset.file.filename}: {dataset.name}"
        yield from Extent.of(dataset).blocks(descriptor, where=where)
        return
    joined = b"\0".join(np.atleast_1d(dataset[()]))
    # An empty string has no bytes but still one checksum.
    for start in range(0, max(len(joined), 1), CHECKSUM_BYTES):
        yield joined[start : start + CHECKSUM_BYTES]


def attributes_checksum(file: h5py.File, datasets: Mapping[str, h5py.Dataset]) -> int:
    """CRC-32 of the attributes of the root and of the datasets, by their paths."""
    values = {
        path: {name: _plain(value) for name, value in owner.attrs.items()}
        for path, owner in {"/": file, **datasets}.items()
        if len(owner.attrs) > 0
    }
    return zlib.crc32(canonical_json(values, where="attributes").encode())


def _plain(value: object) -> object:
    """An attribute as JSON: a string or a list of strings."""
    if isinstance(value, np.ndarray):
        return [text(item) for item in value.tolist()]
    return text(value)
