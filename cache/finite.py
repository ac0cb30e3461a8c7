"""Where an array holds something that is no number."""

import numpy as np
import numpy.typing as npt


def first_not_finite(values: npt.NDArray[np.floating]) -> tuple[int, ...] | None:
    """Index of the first infinity or NaN, one number an axis; None if all are finite."""
    is_finite = np.isfinite(values)
    if is_finite.all():
        return None
    return tuple(np.argwhere(~is_finite)[0].tolist())
