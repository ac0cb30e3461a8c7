"""Rows that come block by block, as one array or in one file, whatever their number.

Few are kept in memory, more in a temporary file without a name, which is gone with them.
"""

import math
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

IN_MEMORY = 64 << 20
"""Bytes, of one array."""


class Spool:
    """Blocks (B, ...) of one kind, one below the other; text may be longer in one than another."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - goes with the spool
        self._blocks: list[tuple[np.dtype[Any], tuple[int, ...]]] = []

    def __del__(self) -> None:
        """Close the file; an array goes on being mapped from it."""
        self._file.close()

    def add(self, block: Array) -> None:
        """One more block, a copy of which is kept."""
        self._file.write(block.tobytes())
        self._blocks.append((block.dtype, block.shape))

    def array(self) -> Array:
        """All blocks (N, ...), which are at least one; mapped where they are in a file."""
        dtype, shape = self._whole()
        is_small = self._file.tell() <= IN_MEMORY
        if not is_small and all(each == dtype for each, _ in self._blocks):
            return np.memmap(self._file, dtype, mode="c", shape=shape)
        if is_small:
            return np.concatenate([*self._again()])
        with tempfile.TemporaryFile() as file:  # what is mapped stays
            found: Array = np.memmap(file, dtype, mode="w+", shape=shape)
        start = 0
        for block in self._again():
            found[start : start + len(block)] = block
            start += len(block)
        return found

    def save(self, file: IO[bytes]) -> None:
        """Write them as an `.npy` of all rows, a block at a time."""
        dtype, shape = self._whole()
        descr = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in self._again():
            file.write(block.astype(dtype, copy=False).tobytes())

    def _whole(self) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """The type that holds all blocks, and the shape of their rows."""
        num_rows = sum(shape[0] for _, shape in self._blocks)
        rest = self._blocks[0][1][1:]
        return np.result_type(*(dtype for dtype, _ in self._blocks)), (num_rows, *rest)

    def _again(self) -> Iterator[Array]:
        """The blocks as they came."""
        self._file.seek(0)
        for dtype, shape in self._blocks:
            content = self._file.read(math.prod(shape) * dtype.itemsize)
            yield np.frombuffer(content, dtype).reshape(shape)
