"""HDF5's own records, written to memory first and to the disk by ourselves.

HDF5 cannot bear a disk that fills up while it writes its records: the error comes from closing,
and the library then crashes the process when it ends (HDF5 2.0 does, with a segmentation fault).
So h5py is given a file in memory that cannot fail, and its pages go to the disk with plain system
calls, whose errors are plain.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import h5py

from marr_pipeline.cache.schema import LIBVER

# One cache line: what vector instructions and any dtype of the format can ask for.
_ALIGNMENT = 64
_PAGE = 4096


@contextmanager
def staged_hdf5(
    descriptor: int, mode: Literal["w", "r+"], *, keeps_bytes: bool = False
) -> Iterator[h5py.File]:
    """An HDF5 file over an open descriptor; it reaches the disk when the block ends well.

    Args:
        descriptor: open for reading and writing.
        mode: "w" starts an empty file, "r+" changes the one that is there.
        keeps_bytes: for "w": bytes that HDF5 does not write stay as they are.

    Raises:
        OSError: the disk refuses.
    """
    num_bytes = os.fstat(descriptor).st_size
    stage = _StagedFile(
        descriptor,
        num_bytes=0 if mode == "w" else num_bytes,
        num_old_bytes=0 if mode == "w" and not keeps_bytes else num_bytes,
    )
    with h5py.File(
        stage,
        mode,
        libver=LIBVER,
        alignment_threshold=_ALIGNMENT,
        alignment_interval=_ALIGNMENT,
    ) as file:
        yield file
    stage.commit()


class _StagedFile(io.RawIOBase):
    """A file whose changed pages stay in memory until `commit`.

    Args:
        descriptor: the file beneath.
        num_bytes: length of the file to begin with.
        num_old_bytes: how much of the file beneath counts; what lies beyond reads as zeros.
    """

    def __init__(self, descriptor: int, *, num_bytes: int, num_old_bytes: int) -> None:
        self._descriptor = descriptor
        self._num_old_bytes = num_old_bytes
        self._num_bytes = num_bytes
        self._position = 0
        self._pages: dict[int, bytearray] = {}

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._num_bytes}
        self._position = start[whence] + offset
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self._num_bytes = self._position if size is None else size
        self._num_old_bytes = min(self._num_old_bytes, self._num_bytes)
        return self._num_bytes

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what h5py passes
        target = memoryview(buffer).cast("B")
        size = max(0, min(len(target), self._num_bytes - self._position))
        for done, index, start, stop in self._pieces(size):
            page = self._pages.get(index) or self._old_page(index)
            target[done : done + stop - start] = page[start:stop]
        self._position += size
        return size

    def write(self, buffer: memoryview) -> int:  # type: ignore[override] # what h5py passes
        source = memoryview(buffer).cast("B")
        for done, index, start, stop in self._pieces(len(source)):
            if index not in self._pages:
                self._pages[index] = self._old_page(index)
            self._pages[index][start:stop] = source[done : done + stop - start]
        self._position += len(source)
        self._num_bytes = max(self._num_bytes, self._position)
        return len(source)

    def commit(self) -> None:
        """Give the file beneath its length and its changed pages.

        Raises:
            OSError: the disk refuses.
        """
        os.ftruncate(self._descriptor, self._num_old_bytes)
        os.ftruncate(self._descriptor, self._num_bytes)
        for index, page in sorted(self._pages.items()):
            offset = index * _PAGE
            write_at(self._descriptor, memoryview(page)[: max(0, self._num_bytes - offset)], offset)

    def _pieces(self, size: int) -> Iterator[tuple[int, int, int, int]]:
        """Bytes done, page, first and last byte within it, for `size` bytes from here."""
        done = 0
        while done < size:
            index, start = divmod(self._position + done, _PAGE)
            stop = min(_PAGE, start + size - done)
            yield done, index, start, stop
            done += stop - start

    def _old_page(self, index: int) -> bytearray:
        offset = index * _PAGE
        size = max(0, min(_PAGE, self._num_old_bytes - offset))
        return bytearray(os.pread(self._descriptor, size, offset).ljust(_PAGE, b"\0"))


def write_at(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all bytes at an offset; a system call may take only some of them.

    Raises:
        OSError: the disk refuses.
    """
    while len(content) > 0:
        num_written = os.pwrite(descriptor, content, offset)
        content, offset = content[num_written:], offset + num_written
