"""What a solver sees: a convex function of a method's parameters, with a certificate.

P parameters theta, of which those not `free` stay at 0. With the data term L of `objective`,

    F(theta) = L(scale(theta), shift(theta)) + l2/2 |theta - center|^2.

With l2 > 0, F is l2-strongly convex, so at any point  F - F* <= |grad F|^2 / (2 l2).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.rectify.affine import AffineFamily
from pipeline.rectify.objective import WeightedCrossEntropy


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
        l2: strength of the ridge, >= 0.
        center: (P,) float64 where the ridge pulls to.
    """

    def __init__(
        self, loss: WeightedCrossEntropy, family: AffineFamily, *, l2: float, center: Tensor
    ) -> None:
        self.loss = loss
        self.family = family
        self.l2 = l2
        self.center = center
        self.free = family.free
        self.passes = 0.0

    def evaluate(self, theta: Tensor, *, precise: bool) -> Point:
        """F and its gradient at theta (P,): one pass. `precise` computes in float64 throughout."""
        self.passes += 1
        data = self.loss.evaluate(*self.family.affine(theta), precise=precise)
        gradient = self.family.pull_back(data.scale_gradient, data.shift_gradient)
        offset = torch.where(self.free, theta - self.center, 0.0)
        return Point(
            theta=theta,
            value=data.loss + 0.5 * self.l2 * float(offset @ offset),
            gradient=torch.where(self.free, gradient, 0.0) + self.l2 * offset,
            largest_row_loss=data.largest_row_loss,
        )

    def gap_bound(self, point: Point) -> float | None:
        """Upper bound on F - F*; None without a ridge, where there is none to give."""
        return self.tolerance_at(point.gradient_norm) if self.l2 > 0 else None

    def is_solved(self, point: Point, tolerance: float) -> bool:
        """Whether gap bound (gradient norm without a ridge) <= tolerance."""
        return self.tolerance_at(point.gradient_norm) <= tolerance

    def tolerance_at(self, gradient_norm: float) -> float:
        """The tolerance that a gradient of this norm just meets."""
        return gradient_norm**2 / (2 * self.l2) if self.l2 > 0 else gradient_norm

    def has_no_minimum(self, point: Point) -> bool:
        """Whether this point proves that F has none: no ridge, every own label above one half.

        Scaling such logits up lowers the loss for ever.
        """
        return self.l2 == 0 and point.largest_row_loss < math.log(2)

    def subset(self, rows: Tensor) -> "Problem":
        """The same problem on some rows (B,) int64 alone, with a count of passes of its own."""
        return Problem(self.loss.subset(rows), self.family, l2=self.l2, center=self.center)

    def thin(self, rows_per_class: int) -> "Problem":
        """An estimate of F from at most that many rows of each class; see `thinning`."""
        return Problem(self.loss.thin(rows_per_class), self.family, l2=self.l2, center=self.center)

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64 at theta; a parameter that is not free gets a row of the identity."""
        blocks = self.loss.hessian(*self.family.affine(theta))
        hessian = self.family.pull_back_hessian(*blocks)
        held = ~self.free
        hessian[held, :] = 0.0
        hessian[:, held] = 0.0
        hessian.diagonal().add_(torch.where(self.free, self.l2, 1.0))
        return hessian

    def hessian_product(self, theta: Tensor, step: Tensor) -> Tensor:
        """Hessian at theta (P,) times step (P,): one pass."""
        self.passes += 1
        point, direction = self.family.affine(theta), self.family.direction(step)
        product = self.family.pull_back(*self.loss.hessian_product(*point, *direction))
        return torch.where(self.free, product + self.l2 * step, 0.0)
