"""What a solver sees of a fit, a function with a gradient at a point, and what it makes of it.

P parameters theta. How a fit ended is measured at the point that is returned, in float64.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from marr_pipeline.errors import FitError
from marr_pipeline.optim.ridge import Ridge
from marr_pipeline.progress import Progress, silent

Preconditioner = Callable[[Tensor], Tensor]
"""An inverse Hessian, or what stands for it, applied to a gradient (P,)."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one pass over the rows says of a point.

    Attributes:
        value: the loss L; F, with its ridge, of a `Point`.
        gradient: of that, float64 on the CPU, in the shape that the loss gives it.
        largest_row_loss: of the rows whose weight is not 0. Below log 2 every row's own label has
            more than half of the probability, which proves that the rows can be separated.
    """

    value: float
    gradient: Tensor
    largest_row_loss: float


@dataclass(frozen=True, kw_only=True)
class Point(Evaluation):
    """F and its gradient (P,) at a point.

    Attributes:
        theta: (P,) float64.
    """

    theta: Tensor

    @cached_property
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


class Solvable(ABC):
    """F(theta) = L(theta) + R(theta), a data term over rows and a ridge; counts its passes.

    A part that stands for a whole, of fewer rows or fewer free parameters, counts its passes there
    too, each for its share of the rows.

    Args:
        ridge: R; its centre is 0 where a parameter is not free.
        free: (P,) bool, or a single one for all; the others stay where they are.
        progress: told each pass, with the loss and what it certifies.

    Attributes:
        passes: sweeps over the logits of all rows so far: for a value with its gradient, a product
            with the Hessian or the whole Hessian, which takes longer than the others, and for
            proof that the rows can be separated. A sweep over a share of the rows counts that
            share.
        is_convex: whether L is, so that a ridge bounds F - F*.
    """

    is_convex = True

    def __init__(
        self, ridge: Ridge, *, free: Tensor | None = None, progress: Progress = silent
    ) -> None:
        self.ridge = ridge
        self.free = torch.tensor(True) if free is None else free
        self.passes = 0.0
        self._progress = progress
        self._reading = ""
        self._whole: Solvable | None = None

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """R."""

    @abstractmethod
    def subset(self, rows: Tensor) -> Self:
        """The same problem on some rows (B,) int64 alone, with a count of passes of its own."""

    @abstractmethod
    def _data(self, theta: Tensor, *, precise: bool) -> Evaluation:
        """L at theta (P,) and its gradient (P,)."""

    @abstractmethod
    def _is_separated(self, theta: Tensor) -> bool:
        """Whether theta (P,) shows, in float64, that without a ridge F has no minimum."""

    def evaluate(self, theta: Tensor, *, precise: bool) -> Point:
        """F and its gradient at theta (P,): one pass. `precise` computes in float64 throughout."""
        data = self._data(theta, precise=precise)
        point = Point(
            theta=theta,
            value=data.value + float(self.ridge.value(theta)),
            gradient=torch.where(self.free, data.gradient + self.ridge.gradient(theta), 0.0),
            largest_row_loss=data.largest_row_loss,
        )
        if self._progress is not silent:
            self._reading = point.describe(self.num_rows, self.gap_bound(point))
        self.count_pass()
        return point

    def count_pass(self) -> None:
        """One more sweep over this problem's rows, and its share in the one that it stands for."""
        self._add_rows(self.num_rows)
        self._progress(int(self.passes), 0, self._reading)

    def _add_rows(self, num_rows: int) -> None:
        self.passes += num_rows / self.num_rows
        if self._whole is not None:
            self._whole._add_rows(num_rows)

    def gap_bound(self, point: Point) -> float | None:
        """Upper bound on F - F*; None where there is none to give: no ridge, or not convex."""
        return self.ridge.gap_bound(point.gradient) if self._is_certified else None

    def tolerance_met(self, gradient: Tensor) -> float:
        """The tolerance that a gradient (P,) just meets: gap bound, or its norm without one."""
        if self._is_certified:
            return self.ridge.gap_bound(gradient)
        return float(torch.linalg.vector_norm(gradient))

    def is_solved(self, point: Point, tolerance: float) -> bool:
        """Whether gap bound (gradient norm where there is none) <= tolerance."""
        return self.tolerance_met(point.gradient) <= tolerance

    def has_no_minimum(self, point: Point) -> bool:
        """Whether this point proves that F has none: no ridge, every own label above one half.

        Scaling such logits up lowers the loss for ever.
        """
        return self.ridge.is_none and point.largest_row_loss < math.log(2)

    def is_unbounded(self, point: Point) -> bool:
        """Whether every row is on its own side at this point, and no ridge holds it back."""
        if not self.ridge.is_none:
            return False
        self.count_pass()
        return self._is_separated(point.theta)

    @property
    def _is_certified(self) -> bool:
        return self.is_convex and self.ridge.is_certain


class Curved(Solvable):
    """F whose whole Hessian can be had."""

    @property
    def hessian_width(self) -> int:
        """Of the matrix that `hessian` makes, on its way to (P, P)."""
        return len(self.ridge.center)

    @abstractmethod
    def _data_hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64 of L at theta (P,), or what stands for it and is positive semidefinite.

        In memory that may be written to.
        """

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64 at theta: one pass. A parameter not free gets a row of the identity."""
        self.count_pass()
        hessian = self._data_hessian(theta)
        self.ridge.add_hessian(hessian)
        held = ~self.free.expand(len(hessian))
        if bool(held.any()):
            hessian[held, :] = 0.0
            hessian[:, held] = 0.0
            hessian.diagonal()[held] = 1.0
        return hessian

    def hessian_product(self, theta: Tensor, step: Tensor) -> Tensor:
        """The Hessian at theta (P,) times a step (P,): one pass."""
        return self.hessian(theta) @ step


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
    OWN = "own"
    """A method of the user's own ended; where, it alone knows."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A solver's last point, evaluated in float64, and how it got there.

    Attributes:
        theta: (P,) float64, the fitted numbers; empty where there was nothing to fit, and then the
            gradient and the next three are None.
        gradient: (P,) float64, F's in theta.
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
    gradient: Tensor | None = None
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
            f"{point.gradient_norm} after {steps} steps; try a larger l2"
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
        gradient=point.gradient,
        gradient_norm=point.gradient_norm,
        gap_bound=problem.gap_bound(point),
        passes=problem.passes,
        steps=steps,
    )
