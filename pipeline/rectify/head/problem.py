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

from torch import Tensor

from marr_pipeline.optim.solvable import Point
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.head.loss import HeadCrossEntropy
from marr_pipeline.rectify.problem import Problem
from marr_pipeline.rectify.ridge import Ridge
from marr_pipeline.rectify.rows.weighted_rows import Evaluation


class HeadProblem(Problem[HeadCrossEntropy]):
    """F of the module's docstring.

    Args:
        loss: the data term.
        ridge: R, to a point.
        progress: told each pass, with the loss and what it certifies.
    """

    def __init__(
        self, loss: HeadCrossEntropy, ridge: Ridge, *, progress: Progress = silent
    ) -> None:
        super().__init__(loss, ridge, progress=progress)
        self.shape = (loss.num_classes, loss.num_features + 1)

    @property
    def num_parameters(self) -> int:
        """P."""
        return self.shape[0] * self.shape[1]

    def head(self, theta: Tensor) -> Tensor:
        """H (K, D + 1) of theta (P,), in the same memory."""
        return theta.view(self.shape)

    def hessian(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """The Hessian at theta (P,), as its product with a step (P,): one pass."""
        if self.loss.keeps_probabilities:  # which one pass makes for all products
            self.count_pass()
        of_loss = self.loss.hessian(self.head(theta))

        def product(step: Tensor) -> Tensor:
            self.count_pass()
            return of_loss(self.head(step)).flatten() + self.ridge.hessian_product(step)

        return product

    def has_no_minimum(self, point: Point) -> bool:
        """Whether this point proves that F has none: no ridge, every own logit surely on top.

        A row's own probability p puts its own logit, offset included, log(p / (1 - p)) above every
        other at least; that must outweigh what the offset can have added.
        """
        sure = math.log1p(math.exp(-self.loss.offset_range))
        return self.ridge.is_none and point.largest_row_loss < sure

    def centred(self, theta: Tensor) -> Tensor:
        """theta (P,) whose rows of H sum to zero; it gives the same probabilities."""
        head = self.head(theta)
        return (head - head.mean(0)).flatten()

    def _data(self, theta: Tensor, *, precise: bool) -> Evaluation:
        data = self.loss.evaluate(self.head(theta), precise=precise)
        return Evaluation(data.loss, data.gradient.flatten(), data.largest_row_loss)

    def _is_separated(self, theta: Tensor) -> bool:
        return self.loss.is_separated(self.head(theta))
