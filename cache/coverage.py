"""Which rows have been written: each exactly once, or the file is not sealed."""

import numpy as np

from marr_pipeline.cache.errors import CacheError

_NAMED_ROWS = 5


class RowCoverage:
    """Rows of one dataset or view, claimed block by block.

    Args:
        num_rows: N.
        where: how errors name these rows.
    """

    def __init__(self, num_rows: int, *, where: str) -> None:
        self._where = where
        self._is_written = np.zeros(num_rows, dtype=np.bool_)

    def has(self, start: int, stop: int) -> bool:
        """Whether rows start..stop-1 are all written."""
        return bool(self._is_written[start:stop].all())

    def is_free(self, start: int, stop: int) -> bool:
        """Whether rows start..stop-1 exist and none of them is written."""
        inside = 0 <= start < stop <= len(self._is_written)
        return inside and not self._is_written[start:stop].any()

    def claim(self, start: int, stop: int) -> None:
        """Mark rows start..stop-1 as written.

        Raises:
            CacheError: a row lies outside, or has been written before.
        """
        num_rows = len(self._is_written)
        if not 0 <= start < stop <= num_rows:
            raise CacheError(
                f"{self._where}: rows within 0..{num_rows - 1} expected, got {start}..{stop - 1}; "
                "write each row at its own place"
            )
        block = self._is_written[start:stop]
        if block.any():
            raise CacheError(
                f"{self._where}: each row once expected, got row {start + int(block.argmax())} "
                "a second time; does the loader pad or repeat samples?"
            )
        block[:] = True

    def check_complete(self) -> None:
        """Refuse gaps.

        Raises:
            CacheError: rows are missing; it names the first.
        """
        missing = np.flatnonzero(~self._is_written)
        if len(missing) > 0:
            named = ", ".join(str(row) for row in missing[:_NAMED_ROWS])
            more = ", ..." if len(missing) > _NAMED_ROWS else ""
            raise CacheError(
                f"{self._where}: all {len(self._is_written)} rows expected, got "
                f"{len(missing)} missing (rows {named}{more}); write them before closing"
            )
