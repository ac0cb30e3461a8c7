"""Rows that come block by block, as one array, whatever their number.

Few are kept in memory, more in a temporary file without a name, which is mapped and gone with the
array.
"""

import tempfile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

IN_MEMORY = 64 << 20
"""Bytes, of one array."""


class Spool:
    """Blocks (B, ...) of one kind, one below the other; text may be longer in one than another."""

    def __init__(self) -> None:
        self._blocks: list[Array] = []
        self._num_bytes = 0
        self._file: IO[bytes] | None = None
        self._written: list[tuple[np.dtype[Any], tuple[int, ...]]] = []

    def add(self, block: Array) -> None:
        """One more block, a copy of which is kept."""
        self._blocks.append(block.copy())
        self._num_bytes += block.nbytes
        if self._num_bytes > IN_MEMORY:
            self._spill()

    def __del__(self) -> None:
        """Close the file; an array goes on being mapped from it."""
        if self._file is not None:
            self._file.close()

    def array(self) -> Array:
        """All blocks (N, ...), which are at least one."""
        if self._file is None:
            return np.concatenate(self._blocks)
        self._spill()
        dtype = np.result_type(*(dtype for dtype, _ in self._written))
        shape = (sum(shape[0] for _, shape in self._written), *self._written[0][1][1:])
        if any(each != dtype for each, _ in self._written):
            return self._converted(dtype, shape)
        return np.memmap(self._file, dtype, mode="c", shape=shape)

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the spool
        for block in self._blocks:
            self._file.write(block.tobytes())
            self._written.append((block.dtype, block.shape))
        self._blocks.clear()
        self._file.flush()

    def _converted(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        """The blocks in the one type that holds them all."""
        assert self._file is not None
        with tempfile.TemporaryFile() as file:  # what is mapped stays
            whole: Array = np.memmap(file, dtype, mode="w+", shape=shape)
        self._file.seek(0)
        start = 0
        for own, (length, *rest) in self._written:
            count = length * int(np.prod(rest))
            block = np.frombuffer(self._file.read(count * own.itemsize), own)
            whole[start : start + length] = block.reshape(length, *rest)
            start += length
        return whole
