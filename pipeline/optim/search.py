"""A step length along a descent direction of a convex function.

With phi(a) = F(theta + a d), a step is taken when it meets the Wolfe conditions

    phi(a) <= phi(0) + 1e-4 a phi'(0)   and   phi'(a) >= 0.9 phi'(0),

or, where rounding hides the decrease (Hager and Zhang 2005), when phi(a) is level with phi(0) and
phi'(a) lies between 0.9 phi'(0) and -0.9998 phi'(0). A pass yields phi and phi' together, so
brackets shrink by cubic interpolation on both.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from marr_pipeline.optim.solvable import Point

DECREASE = 1e-4
CURVATURE = 0.9
MAX_TRIALS = 25
ROUNDING = {False: 1e-7, True: 1e-13}
"""Relative error of F by whether it was evaluated with `precise`."""


@dataclass(frozen=True)
class _Trial:
    length: float
    value: float
    slope: float


def search_step(
    evaluate: Callable[[Tensor], Point],
    start: Point,
    direction: Tensor,
    *,
    length: float,
    rounding: float,
) -> Point | None:
    """The first trial point that meets the conditions of the module's docstring.

    Args:
        evaluate: F and its gradient, in one pass.
        start: where `direction` (P,) leaves from.
        direction: a descent direction.
        length: first trial.
        rounding: relative error of the values that `evaluate` returns.

    Returns:
        The accepted point; None if none was found, which near a minimum means that the
        arithmetic cannot see a descent.
    """
    slope = float(start.gradient @ direction)
    level = start.value + rounding * max(abs(start.value), 1.0)
    low, high = _Trial(0.0, start.value, slope), None
    for _ in range(MAX_TRIALS):
        point = evaluate(start.theta + length * direction)
        trial = _Trial(length, point.value, float(point.gradient @ direction))
        falls = trial.value <= start.value + DECREASE * length * slope
        is_level = trial.value <= level and trial.slope <= (2 * DECREASE - 1) * slope
        if not point.is_finite or not (falls or is_level):
            high = trial
        elif trial.slope < CURVATURE * slope:
            low = trial
        else:
            return point
        length = _next_length(low, high)
    return None


def _next_length(low: _Trial, high: _Trial | None) -> float:
    if high is None:
        return 4.0 * low.length if low.length > 0 else 1.0
    width = high.length - low.length
    if not (math.isfinite(high.value) and math.isfinite(high.slope)):
        return low.length + 0.1 * width
    inside = (_cubic_minimum(low, high) - low.length) / width
    return low.length + min(max(inside, 0.1), 0.9) * width


def _cubic_minimum(low: _Trial, high: _Trial) -> float:
    """Where the cubic through both values and slopes is least; the middle if it has no minimum."""
    width = high.length - low.length
    bend = low.slope + high.slope - 3 * (high.value - low.value) / width
    discriminant = bend * bend - low.slope * high.slope
    divisor = high.slope - low.slope + 2 * math.sqrt(max(discriminant, 0.0))
    if discriminant < 0 or divisor == 0:
        return low.length + 0.5 * width
    return high.length - width * (high.slope + math.sqrt(discriminant) - bend) / divisor
