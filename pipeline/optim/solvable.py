"""What a solver sees of a fit, a function with a gradient at a point, and what it makes of it.

P parameters theta. How a fit ended is measured at the point that is returned, in float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor

from marr_pipeline.errors import FitError

Preconditioner = Callable[[Tensor], Tensor]
"""An inverse Hessian, or what stands for it, applied to a gradient (P,)."""


@dataclass(frozen=True)
class Point:
    """A point and what one pass over the rows says of it.

    Attributes:
        theta: (P,) float64.
        value: F, with its ridge; the loss alone where a data term was asked.
        gradient: (P,) float64, of that in theta.
        largest_row_loss: of the rows whose weight is not 0. Below log 2 every row's own label has
            more than half of the probability, which proves that the rows can be separated.
    """

    theta: Tensor
    value: float
    gradient: Tensor
    largest_row_loss: float

    @property
    def gradient_norm(self) -> float:
        """2-norm of the gradient."""
        return float(torch.linalg.vector_norm(self.gradient))

    @property
    def is_finite(self) -> bool:
        """Whether value and gradient are numbers."""
        return math.isfinite(self.value) and math.isfinite(self.gradient_norm)

    def describe(self, num_rows: int, gap_bound: float | None) -> str:
        """The pass over R rows in short: loss, and what it certifies."""
        met = "gradient" if gap_bound is None else "gap <="
        value = self.gradient_norm if gap_bound is None else gap_bound
        return f"{num_rows:,} rows, loss {self.value:.6f}, {met} {value:.1e}"


class Solvable(Protocol):
    """F over rows; counts its passes over them.

    Attributes:
        passes: sweeps over the logits of all rows so far: for a value with its gradient, a product
            with the Hessian or the whole Hessian, which takes longer than the others, and for
            proof that the rows can be separated. A sweep over a share of the rows counts that
            share.
    """

    passes: float

    @property
    def num_rows(self) -> int:
        """R."""

    def evaluate(self, theta: Tensor, *, precise: bool) -> Point:
        """F and its gradient at theta (P,): one pass. `precise` computes in float64 throughout."""

    def subset(self, rows: Tensor) -> "Solvable":
        """The same problem on some rows (B,) int64 alone, with a count of passes of its own."""

    def gap_bound(self, point: Point) -> float | None:
        """Upper bound on F - F*; None where there is none to give."""

    def is_solved(self, point: Point, tolerance: float) -> bool:
        """Whether gap bound (gradient norm where there is none) <= tolerance."""

    def has_no_minimum(self, point: Point) -> bool:
        """Whether what is known of this point proves that F has none; costs no pass."""

    def is_unbounded(self, point: Point) -> bool:
        """Whether this point proves that F has no minimum, in float64; may cost a pass."""


class Curved(Solvable, Protocol):
    """F whose Hessian can be had."""

    @property
    def hessian_width(self) -> int:
        """Of the matrix that `hessian` makes, on its way to (P, P)."""

    @property
    def ridge_strength(self) -> float:
        """What the ridge adds to the curvature of F; 0 without one."""

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64 at theta (P,), or what stands for it and is positive semidefinite."""

    def hessian_product(self, theta: Tensor, step: Tensor) -> Tensor:
        """The Hessian at theta (P,) times a step (P,): one pass."""


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
    """A solver's last point, evaluated in float64, and how it got there.

    Attributes:
        theta: (P,) float64, the fitted numbers; empty where there was nothing to fit, and then the
            next three are None.
        status: why the fit ended.
        loss: F with its ridge.
        gradient_norm: 2-norm of F's gradient in theta.
        gap_bound: upper bound on F - F*; None also where F has no ridge or is not convex.
        passes: see `Solvable`.
        steps: of the solver.
    """

    theta: Tensor
    status: FitStatus
    loss: float | None = None
    gradient_norm: float | None = None
    gap_bound: float | None = None
    passes: float = 0.0
    steps: int = 0

    @property
    def num_parameters(self) -> int:
        """P."""
        return len(self.theta)


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
        theta=point.theta,
        status=status,
        loss=point.value,
        gradient_norm=point.gradient_norm,
        gap_bound=problem.gap_bound(point),
        passes=problem.passes,
        steps=steps,
    )
