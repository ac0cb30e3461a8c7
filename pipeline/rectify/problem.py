"""What a solver sees: a convex function of a method's parameters, with a certificate.

P parameters theta, of which those not `free` stay at 0. With the data term L of `objective` and the
quadratic R of `ridge`,

    F(theta) = L(scale(theta), shift(theta)) + R(theta).
"""

import math

import torch
from torch import Tensor

from marr_pipeline.optim.solvable import Point
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.affine.family import AffineFamily
from marr_pipeline.rectify.certified import Certified
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.ridge import Ridge


class Problem(Certified):
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
        super().__init__(ridge)
        self.loss = loss
        self.family = family
        self.free = family.free
        self.passes = 0.0
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
        """2K: scales and shifts are taken together."""
        return 2 * self.loss.num_classes

    @property
    def memory(self) -> int | None:
        """The bound on buffers, in bytes."""
        return self.loss.memory

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
        if self._progress is not silent:
            self._progress(
                int(self.passes), 0, point.describe(self.num_rows, self.gap_bound(point))
            )
        return point

    def has_no_minimum(self, point: Point) -> bool:
        """Whether this point proves that F has none: no ridge, every own label above one half.

        Scaling such logits up lowers the loss for ever.
        """
        return self.ridge.is_none and point.largest_row_loss < math.log(2)

    def is_unbounded(self, point: Point) -> bool:
        """Whether every row is on its own side at this point, and no ridge holds it back."""
        return self.ridge.is_none and self.loss.is_separated(*self.family.affine(point.theta))

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
