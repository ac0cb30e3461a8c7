"""What a solver sees: a convex function of a method's parameters, with a certificate.

P parameters theta, of which those not `free` stay at 0. With the data term L of `objective` and the
quadratic R of `ridge`,

    F(theta) = L(scale(theta), shift(theta)) + R(theta).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.progress import Progress, silent
from pipeline.rectify.affine import AffineFamily
from pipeline.rectify.objective import WeightedCrossEntropy
from pipeline.rectify.ridge import Ridge


@dataclass(frozen=True)
class Point:
    """A point and what one pass over the rows says of it.

    Attributes:
        theta: (P,) float64.
        value: F, with its ridge.
        gradient: (P,) float64, of F in the method's own parameters.
        largest_row_loss: see `objective.Evaluation`.
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


class Problem:
    """F of the module's docstring; counts its passes over the rows.

    Args:
        loss: the data term.
        family: which scales and shifts are reachable.
        ridge: R; its centre is 0 where a parameter is not free.
        progress: told each pass, with the loss and what it certifies.
    """

    def __init__(
        self,
        loss: WeightedCrossEntropy,
        family: AffineFamily,
        ridge: Ridge,
        *,
        progress: Progress = silent,
    ) -> None:
        self.loss = loss
        self.family = family
        self.ridge = ridge
        self.free = family.free
        self.passes = 0.0
        self._progress = progress

    def evaluate(self, theta: Tensor, *, precise: bool) -> Point:
        """F and its gradient at theta (P,): one pass. `precise` computes in float64 throughout."""
        self.passes += 1
        data = self.loss.evaluate(*self.family.affine(theta), precise=precise)
        gradient = self.family.pull_back(data.scale_gradient, data.shift_gradient)
        point = Point(
            theta=theta,
            value=data.loss + float(self.ridge.value(theta)),
            gradient=torch.where(self.free, gradient + self.ridge.gradient(theta), 0.0),
            largest_row_loss=data.largest_row_loss,
        )
        measure = "gradient" if self.ridge.is_none else "gap <="
        met = self.tolerance_met(point.gradient)
        rows = f"{self.loss.num_rows:,} rows"
        self._progress(int(self.passes), 0, f"{rows}, loss {point.value:.6f}, {measure} {met:.1e}")
        return point

    def gap_bound(self, point: Point) -> float | None:
        """Upper bound on F - F*; None without a ridge, where there is none to give."""
        return None if self.ridge.is_none else self.ridge.gap_bound(point.gradient)

    def is_solved(self, point: Point, tolerance: float) -> bool:
        """Whether gap bound (gradient norm without a ridge) <= tolerance."""
        return self.tolerance_met(point.gradient) <= tolerance

    def tolerance_met(self, gradient: Tensor) -> float:
        """The tolerance that a gradient (P,) just meets."""
        if self.ridge.is_none:
            return float(torch.linalg.vector_norm(gradient))
        return self.ridge.gap_bound(gradient)

    def has_no_minimum(self, point: Point) -> bool:
        """Whether this point proves that F has none: no ridge, every own label above one half.

        Scaling such logits up lowers the loss for ever.
        """
        return self.ridge.is_none and point.largest_row_loss < math.log(2)

    def subset(self, rows: Tensor) -> "Problem":
        """The same problem on some rows (B,) int64 alone, with a count of passes of its own."""
        return Problem(self.loss.subset(rows), self.family, self.ridge)

    def thin(self, rows_per_class: int) -> "Problem":
        """An estimate of F from at most that many rows of each class; see `thinning`."""
        loss = self.loss.thin(rows_per_class)
        return Problem(loss, self.family, self.ridge, progress=self._progress)

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64 at theta; a parameter that is not free gets a row of the identity."""
        if len(theta) == 1:  # its one column is a product, at a pass in place of K of them
            return self.hessian_product(theta, torch.ones_like(theta))[:, None]
        blocks = self.loss.hessian(*self.family.affine(theta))
        hessian = self.family.pull_back_hessian(*blocks) + self.ridge.hessian()
        held = ~self.free
        hessian[held, :] = 0.0
        hessian[:, held] = 0.0
        hessian.diagonal()[held] = 1.0
        return hessian

    def hessian_product(self, theta: Tensor, step: Tensor) -> Tensor:
        """Hessian at theta (P,) times step (P,): one pass."""
        self.passes += 1
        point, direction = self.family.affine(theta), self.family.direction(step)
        product = self.family.pull_back(*self.loss.hessian_product(*point, *direction))
        return torch.where(self.free, product + self.ridge.hessian_product(step), 0.0)
