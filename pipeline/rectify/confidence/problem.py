"""What a solver sees of DisAlign: a function that is convex in scale and shift alone.

theta (P,) = scale s (K,), shift t (K,), v (D,), c. With the data term L of `confidence_loss` and
the quadratic R of `ridge`,

    F(theta) = L(theta) + R(theta).

Together with v and c it is not convex, so no gradient bounds F - F*, and a solver that stops where
the gradient vanishes has found a stationary point. With v and c held F is convex.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from marr_pipeline.optim.solvable import Point
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.confidence.loss import ConfidenceCrossEntropy
from marr_pipeline.rectify.ridge import Ridge


class ConfidenceProblem:
    """F of the module's docstring; counts its passes over the rows.

    Args:
        loss: the data term.
        ridge: R, over s and t; v and c are pulled to 0 with the same strength.
        is_held: whether v and c stay where they are.
        progress: told each pass, with the loss and the gradient.
    """

    def __init__(
        self,
        loss: ConfidenceCrossEntropy,
        ridge: Ridge,
        *,
        is_held: bool = False,
        progress: Progress = silent,
    ) -> None:
        self.loss = loss
        self.ridge = replace(ridge, center=_padded(ridge.center, loss.num_parameters))
        self.free = torch.ones(loss.num_parameters, dtype=torch.bool)
        self.free[2 * loss.num_classes :] = not is_held
        self.passes = 0.0
        self._is_held = is_held
        self._progress = progress

    @property
    def num_rows(self) -> int:
        """R."""
        return self.loss.num_rows

    @property
    def num_classes(self) -> int:
        """K."""
        return self.loss.num_classes

    @property
    def hessian_width(self) -> int:
        """P."""
        return self.loss.num_parameters

    @property
    def memory(self) -> int | None:
        """The bound on buffers, in bytes."""
        return self.loss.memory

    def evaluate(self, theta: Tensor, *, precise: bool) -> Point:
        """F and its gradient at theta (P,): one pass. `precise` computes in float64 throughout."""
        self.passes += 1
        data = self.loss.evaluate(theta, precise=precise)
        point = Point(
            theta=theta,
            value=data.loss + float(self.ridge.value(theta)),
            gradient=torch.where(self.free, data.gradient + self.ridge.gradient(theta), 0.0),
            largest_row_loss=data.largest_row_loss,
        )
        if self._progress is not silent:
            reading = point.describe(self.num_rows, self.gap_bound(point))
            self._progress(int(self.passes), 0, reading)
        return point

    def gap_bound(self, point: Point) -> float | None:
        """None: F is not convex."""
        return None

    def tolerance_met(self, gradient: Tensor) -> float:
        """The tolerance that a gradient (P,) just meets: its 2-norm."""
        return float(torch.linalg.vector_norm(gradient))

    def is_solved(self, point: Point, tolerance: float) -> bool:
        """Whether the gradient's norm <= tolerance."""
        return point.gradient_norm <= tolerance

    def has_no_minimum(self, point: Point) -> bool:
        """`is_unbounded`, asked only where every own label has more than half."""
        return point.largest_row_loss < math.log(2) and self.is_unbounded(point)

    def is_unbounded(self, point: Point) -> bool:
        """Whether this point proves, in float64, that F has no minimum.

        Without a ridge, moving s and t along (1, 0) adds multiples of q_i x_i to row i, along
        (s, t) multiples of q_i new_i: where either has every own label strictly on top, the loss
        falls for ever.
        """
        if not self.ridge.is_none:
            return False
        scale, shift, _, _ = self.loss.split(point.theta)
        return self.loss.is_separated(
            torch.ones_like(scale), torch.zeros_like(shift)
        ) or self.loss.is_separated(scale, shift)

    def released(self) -> "ConfidenceProblem":
        """The same problem with v and c free; it counts its passes on."""
        problem = ConfidenceProblem(self.loss, self.ridge, progress=self._progress)
        problem.passes = self.passes
        return problem

    def subset(self, rows: Tensor) -> "ConfidenceProblem":
        """The same problem on some rows (B,) int64 alone, with a count of passes of its own."""
        return self._over(self.loss.subset(rows), progress=silent)

    def thin(self, rows_per_class: int) -> "ConfidenceProblem":
        """An estimate of F from at most that many rows of each class; see `thinning`."""
        return self._over(self.loss.thin(rows_per_class), progress=self._progress)

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64, with the Gauss-Newton matrix in place of L's Hessian.

        A parameter that is not free gets a row of the identity.
        """
        hessian = self.loss.hessian(theta) + self.ridge.hessian()
        held = ~self.free
        hessian[held, :] = 0.0
        hessian[:, held] = 0.0
        hessian.diagonal()[held] = 1.0
        return hessian

    def _over(self, loss: ConfidenceCrossEntropy, *, progress: Progress) -> "ConfidenceProblem":
        return ConfidenceProblem(loss, self.ridge, is_held=self._is_held, progress=progress)


def _padded(vector: Tensor, length: int) -> Tensor:
    """`vector`, with zeros up to a length; one of that length stays as it is."""
    return torch.cat([vector, vector.new_zeros(length - len(vector))])
