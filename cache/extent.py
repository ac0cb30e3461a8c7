"""Where the bytes of a dataset lie in the file, and how they are read, written and mapped.

A contiguous HDF5 dataset is one run of bytes at a fixed offset. Knowing it, a writer can put rows
in place with plain system calls, with no HDF5 file open during hours of extraction (an HDF5 handle
must not cross a fork, and a killed process leaves one unreadable); a reader can map the rows.
Large arrays go in pieces of bounded size, so that a mapped file never lies in memory as a whole.

What the disk refuses is an OSError here and in every module on top of this one, until the writer
makes one line of it (`errors.write_errors`).
"""

import math
import mmap
import os
import sys
from dataclasses import dataclass

import h5py
import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError

# Linux's number; Python names it from 3.13 on. Without it a copy-on-write mapping larger than the
# memory is refused, although its pages are only read.
_MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0


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
        if offset is None or dataset.chunks is not None or dataset.external:
            raise CacheError(
                f"{dataset.file.filename}: {dataset.name}: contiguous bytes in this file "
                "expected, got another layout; write the cache again"
            )
        return cls(offset=int(offset), shape=tuple(dataset.shape), dtype=dataset.dtype)

    def view(self, mapping: mmap.mmap, *, where: str) -> npt.NDArray[np.generic]:
        """The array over the mapped file, without a copy.

        Raises:
            CacheError: it would reach past the end of the file.
        """
        if self.offset + self.num_bytes > len(mapping):
            raise CacheError(
                f"{where}: {self.num_bytes} bytes at {self.offset} expected, got a file of "
                f"{len(mapping)} bytes; it is truncated: write or copy it again"
            )
        return np.ndarray(self.shape, self.dtype, buffer=mapping, offset=self.offset)


def map_file(file: h5py.File) -> mmap.mmap:
    """The whole file as private memory: pages are read on demand, writes never reach the file.

    It outlives the HDF5 handle. It is writable only so that `torch.from_numpy` takes its arrays
    without a warning.
    """
    descriptor = file.id.get_vfd_handle()
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    return mmap.mmap(
        descriptor,
        0,
        flags=mmap.MAP_PRIVATE | _MAP_NORESERVE,
        prot=mmap.PROT_READ | mmap.PROT_WRITE,
    )


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
