"""How a fit ended. Measured at the point that is returned, in float64."""

from dataclasses import dataclass
from enum import StrEnum

from marr_pipeline.errors import FitError
from marr_pipeline.optim.solvable import Point, Solvable


class FitStatus(StrEnum):
    """Why a fit stopped."""

    CONVERGED = "converged"
    """Gap bound (gradient norm without a ridge) at or below the tolerance."""
    STEP_LIMIT = "step_limit"
    """Neither solved nor refuted within the steps allowed, or within float64's reach."""
    UNBOUNDED = "unbounded"
    """No ridge, and the rows can be separated: the loss falls for ever."""
    SCHEDULE_END = "schedule_end"
    """SGD ran its schedule; it knows no tolerance."""
    CLOSED_FORM = "closed_form"
    """There was nothing to fit."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A solver's last point and how it got there.

    Attributes:
        point: evaluated in float64.
        status: why it stopped.
        gap_bound: upper bound on F - F*; None without a ridge.
        passes: sweeps over all rows; a Hessian-vector sweep counts one.
        steps: of the solver.
    """

    point: Point
    status: FitStatus
    gap_bound: float | None
    passes: float
    steps: int


def conclude(
    problem: Solvable, point: Point, *, tolerance: float, steps: int, scheduled: bool = False
) -> Solution:
    """The solution at `point`, which must have been evaluated with `precise=True`.

    Raises:
        FitError: the loss or its gradient is not finite.
    """
    if not point.is_finite:
        raise FitError(
            f"fit: a finite loss expected, got loss {point.value} and gradient norm "
            f"{point.gradient_norm} after {steps} steps; try a larger --l2"
        )
    if problem.is_unbounded(point):
        status = FitStatus.UNBOUNDED
    elif scheduled:
        status = FitStatus.SCHEDULE_END
    elif problem.is_solved(point, tolerance):
        status = FitStatus.CONVERGED
    else:
        status = FitStatus.STEP_LIMIT
    return Solution(
        point=point,
        status=status,
        gap_bound=problem.gap_bound(point),
        passes=problem.passes,
        steps=steps,
    )
