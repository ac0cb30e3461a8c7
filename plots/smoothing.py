"""A running mean over neighbouring classes, for curves of many noisy classes."""

import numpy as np
import numpy.typing as npt

SMOOTHED_SHARE = 0.05  # of the classes, in one window


def smoothing_window(num_classes: int) -> int:
    """Classes in one running mean: 5 % of them, odd, at least 3."""
    return 2 * max(1, round(SMOOTHED_SHARE * num_classes / 2)) + 1


def running_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean (K,) of the `smoothing_window` values around each one, without those that are NaN.

    At both ends the window is cut off; it never looks beyond them. NaN where it holds no value.
    """
    window = np.ones(smoothing_window(len(values)))
    is_known = ~np.isnan(values)
    middle = slice(len(window) // 2, len(window) // 2 + len(values))
    sums = np.convolve(np.where(is_known, values, 0.0), window)[middle]
    num_known = np.convolve(is_known.astype(np.float64), window)[middle]
    means = np.full(len(values), np.nan)
    np.divide(sums, num_known, out=means, where=num_known > 0.5)
    return means
