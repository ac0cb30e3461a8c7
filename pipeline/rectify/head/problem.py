"""What a solver sees of a method that solves for a whole head.

K classes, D features, a head H = [W b] (K, D + 1), row after row in theta (P,), P = K (D + 1). With
the data term L of `head_loss`,

    F(theta) = L(H) + l2/2 |H|^2,

convex, and with l2 > 0 with one minimum and F - F* <= |grad F|^2 / (2 l2). Without a ridge one
vector added to every row of H changes nothing: of the minima `centred` takes the one whose rows
sum to zero, as they do at the minimum with a ridge.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from marr_pipeline.optim.solvable import Point
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.certified import Certified
from marr_pipeline.rectify.head.loss import HeadCrossEntropy
from marr_pipeline.rectify.ridge import Ridge


class HeadProblem(Certified):
    """F of the module's docstring; counts its passes over the rows.

    Args:
        loss: the data term.
        l2: strength of the ridge, >= 0; 0 for none.
        progress: told each pass, with the loss and what it certifies.
    """

    def __init__(self, loss: HeadCrossEntropy, *, l2: float, progress: Progress = silent) -> None:
        super().__init__(Ridge(l2=l2, center=torch.zeros((), dtype=torch.float64)))
        self.loss = loss
        self.shape = (loss.num_classes, loss.num_features + 1)
        self.passes = 0.0
        self._progress = progress
        self._reading = ""

    @property
    def num_rows(self) -> int:
        """R."""
        return self.loss.num_rows

    @property
    def num_parameters(self) -> int:
        """P."""
        return self.shape[0] * self.shape[1]

    def head(self, theta: Tensor) -> Tensor:
        """H (K, D + 1) of theta (P,), in the same memory."""
        return theta.view(self.shape)

    def evaluate(self, theta: Tensor, *, precise: bool) -> Point:
        """F and its gradient at theta (P,): one pass. `precise` computes in float64 throughout."""
        self.passes += 1
        data = self.loss.evaluate(self.head(theta), precise=precise)
        gradient = data.gradient.flatten() + self.ridge.gradient(theta)
        point = Point(
            theta=theta,
            value=data.loss + float(self.ridge.value(theta)),
            gradient=gradient,
            largest_row_loss=data.largest_row_loss,
        )
        if self._progress is not silent:
            self._reading = point.describe(self.num_rows, self.gap_bound(point))
            self._progress(int(self.passes), 0, self._reading)
        return point

    def hessian(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """The Hessian at theta (P,), as its product with a step (P,): one pass."""
        of_loss = self.loss.hessian(self.head(theta))

        def product(step: Tensor) -> Tensor:
            self.passes += 1
            self._progress(int(self.passes), 0, self._reading)
            return of_loss(self.head(step)).flatten() + self.ridge.hessian_product(step)

        return product

    def has_no_minimum(self, point: Point) -> bool:
        """Whether this point proves that F has none: no ridge, every own logit surely on top.

        A row's own probability p puts its own logit, offset included, log(p / (1 - p)) above every
        other at least; that must outweigh what the offset can have added.
        """
        sure = math.log1p(math.exp(-self.loss.offset_range))
        return self.ridge.is_none and point.largest_row_loss < sure

    def is_unbounded(self, point: Point) -> bool:
        """Whether every row is on its own side at this point, and no ridge holds it back."""
        return self.ridge.is_none and self.loss.is_separated(self.head(point.theta))

    def centred(self, theta: Tensor) -> Tensor:
        """theta (P,) whose rows of H sum to zero; it gives the same probabilities."""
        head = self.head(theta)
        return (head - head.mean(0)).flatten()

    def subset(self, rows: Tensor) -> "HeadProblem":
        """The same problem on some rows (B,) int64 alone, with a count of passes of its own."""
        return HeadProblem(self.loss.subset(rows), l2=self.ridge.l2)

    def thin(self, rows_per_class: int) -> "HeadProblem":
        """An estimate of F from at most that many rows of each class; see `thinning`."""
        loss = self.loss.thin(rows_per_class)
        return HeadProblem(loss, l2=self.ridge.l2, progress=self._progress)
