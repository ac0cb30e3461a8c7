"""Running means and quartiles over the classes from head to tail."""

import numpy as np
import numpy.typing as npt

SMOOTHED_SHARE = 0.05  # of the classes, in one window


def known_mean(values: npt.NDArray[np.floating]) -> float:
    """Mean of the values that are not NaN; NaN where all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


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


def running_quartiles(
    values: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """First and third quartile (K,) of the values that `running_mean` averages, averaged in turn.

    Of values with few levels, such as accuracies on ten images, quartiles jump from one to another.
    """
    window = smoothing_window(len(values))
    padded = np.pad(values.astype(np.float64), window // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)
    low, high = np.full((2, len(values)), np.nan)
    has_known = ~np.isnan(windows).all(axis=1)
    low[has_known], high[has_known] = np.nanquantile(windows[has_known], (0.25, 0.75), axis=1)
    return running_mean(low), running_mean(high)
