"""What is given as logits but is plainly something else: probabilities, percentages, one-hot rows.

All of them go through a fit without an error and give a wrong answer, so they are refused. Each is
recognised only if every row is so: logits of a real network that sum to 1 in each row and are
nowhere negative do not occur.
"""

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError

# Probabilities stored as float16 still sum to 1 within this.
_SUM_TOLERANCE = 1e-3


class LogitEvidence:
    """What all rows seen so far have in common.

    Args:
        where: how the error names them.
    """

    def __init__(self, *, where: str) -> None:
        self._where = where
        self._low, self._high = np.inf, -np.inf
        self._low_sum, self._high_sum = np.inf, -np.inf
        self._is_binary = True

    def add(self, rows: npt.NDArray[np.floating]) -> None:
        """Look at finite rows (B, K)."""
        if self._low < 0:
            return  # one negative number settles it
        self._low = min(self._low, float(rows.min()))
        self._high = max(self._high, float(rows.max()))
        sums = rows.sum(axis=1, dtype=np.float64)
        self._low_sum = min(self._low_sum, float(sums.min()))
        self._high_sum = max(self._high_sum, float(sums.max()))
        self._is_binary = self._is_binary and bool(((rows == 0) | (rows == 1)).all())

    def refuse_what_is_no_logit(self) -> None:
        """Raise if the rows are of a known other kind.

        Raises:
            CacheError: they are; it says of which.
        """
        if self._is_binary and self._sums_to(1):
            found = "one-hot rows (a single 1 in each)"
        elif self._high <= 1 and self._sums_to(1):
            found = "probabilities (all within 0..1, every row sums to 1)"
        elif self._high <= 100 and self._sums_to(100):
            found = "percentages (all within 0..100, every row sums to 100)"
        else:
            return
        raise CacheError(
            f"{self._where}: logits expected, got what looks like {found}; give the values before "
            "the softmax, or log-probabilities"
        )

    def _sums_to(self, total: float) -> bool:
        error = max(abs(self._low_sum - total), abs(self._high_sum - total))
        return self._low >= 0 and error <= _SUM_TOLERANCE * total
