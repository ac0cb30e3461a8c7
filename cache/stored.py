"""Numbers in a file that is held open: read and compared with their checksums, or mapped.

What is read lies in memory of its own, so that nothing that happens to the file can change it any
more. What is mapped is read page by page as it is used and is compared with nothing: `verify` does
that, and whoever made something of it asks whether the file is still the same.
"""

import mmap
import os
import sys
import weakref
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent

DAMAGED = "the file is damaged or was changed by another program: write or copy it again"

# Linux's number; Python names it from 3.13 on. Without it a copy-on-write mapping larger than the
# memory is refused, although its pages are only read.
_MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0


class HeldFile:
    """A file that is held open, and so read on when another takes its name.

    Args:
        path: of the file.

    Attributes:
        descriptor: open for reading, until this object goes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self.descriptor)
        self._state = self._look()

    @property
    def num_bytes(self) -> int:
        """Its length when it was opened."""
        return self._state[2]

    @cached_property
    def mapping(self) -> mmap.mmap:
        """The whole file as private memory: pages are read on demand, writes never reach the file.

        It is writable only so that `torch.from_numpy` takes its arrays without a warning.
        """
        if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
            return mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_COPY)
        return mmap.mmap(
            self.descriptor,
            0,
            flags=mmap.MAP_PRIVATE | _MAP_NORESERVE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
        )

    def require_unchanged(self) -> None:
        """Refuse what was made of a mapping whose file was written to meanwhile.

        Raises:
            CacheError: device, inode, length or time of change are no longer those of its opening.
        """
        if "mapping" in self.__dict__ and self._look() != self._state:
            raise CacheError(
                f"{self._path}: a file that stays as it is while it is read expected, got one that "
                "was written to in place; run the command again, and replace caches as a whole (mv)"
            )

    def _look(self) -> tuple[int, int, int, int]:
        found = os.fstat(self.descriptor)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredArray:
    """A dataset's numbers, or strings of fixed length, as they lie in the file.

    Attributes:
        where: file and dataset, for errors.
        extent: their place, which lies within the file.
        sums: CRC-32 of every 4 MiB.
        file: that they lie in.

    Raises:
        CacheError: they would reach past the end of the file.
    """

    where: str
    extent: Extent
    sums: tuple[int, ...]
    file: HeldFile

    def __post_init__(self) -> None:
        stop, end = self.extent.offset + self.extent.num_bytes, self.file.num_bytes
        if stop > end:
            raise CacheError(
                f"{self.where}: bytes up to {stop} expected, got a file of {end} bytes; it is "
                "truncated: write or copy it again"
            )

    def read(self) -> npt.NDArray[np.generic]:
        """The numbers in new memory, each byte compared.

        Raises:
            CacheError: a byte is not the one that was written, or cannot be read.
        """
        array = np.empty(self.extent.shape, self.extent.dtype)
        target = array.reshape(-1).view(np.uint8)
        start, found = 0, []
        try:
            for block in self.extent.blocks(self.file.descriptor, where=self.where):
                target[start : start + len(block)] = np.frombuffer(block, np.uint8)
                start += len(block)
                found.append(zlib.crc32(block))
        except OSError as error:
            raise CacheError(
                f"{self.where}: bytes that can be read expected, got {error.strerror!r}; check the "
                "disk, or copy the file again"
            ) from error
        for index, (expected, crc) in enumerate(zip(self.sums, found, strict=False)):
            if expected != crc:
                raise CacheError(
                    f"{self.where}: CRC-32 {expected:08x} of its stretch {index} of 4 MiB "
                    f"expected, got {crc:08x}; {DAMAGED}"
                )
        if len(found) != len(self.sums):
            raise CacheError(
                f"{self.where}: {len(found)} checksums expected, got {len(self.sums)}; {DAMAGED}"
            )
        return array

    def mapped(self) -> npt.NDArray[np.generic]:
        """The numbers over the mapped file, compared with nothing."""
        place = self.extent
        return np.ndarray(place.shape, place.dtype, buffer=self.file.mapping, offset=place.offset)
