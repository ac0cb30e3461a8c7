"""Large arrays in pieces of bounded size, so that a mapped file never lies in memory as a whole."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 8 << 20


def row_ranges(num_rows: int, num_bytes_per_row: int) -> Iterator[tuple[int, int]]:
    """First and last row (exclusive) of each block of at most `BLOCK_BYTES`, or of one row."""
    step = max(1, BLOCK_BYTES // max(1, num_bytes_per_row))
    for start in range(0, num_rows, step):
        yield start, min(start + step, num_rows)


def byte_blocks(
    array: npt.NDArray[np.generic], *, dtype: npt.DTypeLike | None = None
) -> Iterator[memoryview]:
    """The bytes of an array in C order, as they would be in another dtype, block by block.

    A C-contiguous array is never copied as a whole.
    """
    target = array.dtype if dtype is None else np.dtype(dtype)
    flat = array.reshape(-1)
    for start, stop in row_ranges(flat.size, max(array.itemsize, target.itemsize)):
        with np.errstate(over="ignore"):  # what overflows is refused where rows are checked
            block = np.ascontiguousarray(flat[start:stop], dtype=target)
        yield block.view(np.uint8).data
