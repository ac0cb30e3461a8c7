"""Where the bytes of a dataset lie in the file, and how they are read and written.

A contiguous HDF5 dataset is one run of bytes at a fixed offset. Knowing it, a writer can put rows
in place with plain system calls, with no HDF5 file open during hours of extraction (an HDF5 handle
must not cross a fork, and a killed process leaves one unreadable); a reader can map the rows.

What the disk refuses is an OSError here and in every module on top of this one, until the writer
makes one line of it (`errors.write_errors`).
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.schema import CHECKSUM_BYTES


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
