"""What a solver sees of a fit: F over weighted rows, its passes, and what its ridge certifies.

P parameters theta, of which those not free stay where they are. With a data term L over the rows,
which a family of methods gives, and the quadratic R of `ridge`,

    F(theta) = L(theta) + R(theta).

A thinned problem stands for the one that it was made of, and so does one with fewer free
parameters: their passes count there too, each for its share of the rows.
"""

import math
from abc import ABC, abstractmethod
from copy import copy
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

from marr_pipeline.optim.solvable import Point
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.ridge import Ridge
from marr_pipeline.rectify.rows.weighted_rows import Evaluation, WeightedRows

Loss = TypeVar("Loss", bound=WeightedRows)


class Problem(ABC, Generic[Loss]):
    """F of the module's docstring; the families are subclasses.

    Args:
        loss: what L is made of.
        ridge: R; its centre is 0 where a parameter is not free.
        free: (P,) bool, or a single one for all.
        progress: told each pass, with the loss and what it certifies.

    Attributes:
        passes: sweeps over all rows so far, of any kind; a thinned problem's count for its share.
        is_convex: whether L is, so that a ridge bounds F - F*.
    """

    is_convex = True

    def __init__(
        self, loss: Loss, ridge: Ridge, *, free: Tensor | None = None, progress: Progress = silent
    ) -> None:
        self.loss = loss
        self.ridge = ridge
        self.free = torch.tensor(True) if free is None else free
        self.passes = 0.0
        self._progress = progress
        self._reading = ""
        self._whole: Problem[Loss] | None = None

    @property
    def num_rows(self) -> int:
        """R."""
        return self.loss.num_rows

    @property
    def num_classes(self) -> int:
        """K."""
        return self.loss.num_classes

    @property
    def memory(self) -> int | None:
        """The bound on buffers, in bytes."""
        return self.loss.memory

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
            value=data.loss + float(self.ridge.value(theta)),
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

    @property
    def ridge_strength(self) -> float:
        """What the ridge adds to the curvature of F; 0 without one."""
        return self.ridge.l2

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

    def subset(self, rows: Tensor) -> Self:
        """The same problem on some rows (B,) int64 alone, with a count of passes of its own."""
        part = copy(self)
        part.loss, part.passes, part._progress = self.loss.subset(rows), 0.0, silent
        return part

    def thin(self, rows_per_class: int) -> Self:
        """An estimate of F from at most that many rows of each class; see `thinning`."""
        return self._standing_for_this(self.loss.thin(rows_per_class))

    def _standing_for_this(self, loss: Loss) -> Self:
        part = copy(self)
        part.loss, part.passes, part._whole = loss, 0.0, self
        return part

    @property
    def _is_certified(self) -> bool:
        return self.is_convex and not self.ridge.is_none


class CurvedProblem(Problem[Loss]):
    """F whose whole Hessian can be had."""

    @property
    def hessian_width(self) -> int:
        """Of the matrix that `hessian` makes, on its way to (P, P)."""
        return len(self.ridge.center)

    @abstractmethod
    def _data_hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64 of L at theta (P,), or what stands for it and is positive semidefinite."""

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64 at theta: one pass. A parameter not free gets a row of the identity."""
        self.count_pass()
        hessian = self._data_hessian(theta) + self.ridge.hessian()
        held = ~self.free.expand(len(hessian))
        hessian[held, :] = 0.0
        hessian[:, held] = 0.0
        hessian.diagonal()[held] = 1.0
        return hessian
