"""F of the affine core: the data term of `objective` over the scales and shifts of a family.

P parameters theta, F(theta) = L(scale(theta), shift(theta)) + R(theta): convex.
"""

import torch
from torch import Tensor

from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.affine.family import AffineFamily
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.problem import Problem
from marr_pipeline.rectify.ridge import Ridge
from marr_pipeline.rectify.rows.weighted_rows import Evaluation


class AffineProblem(Problem[WeightedCrossEntropy]):
    """F of the module's docstring.

    Args:
        loss: L.
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
        super().__init__(loss, ridge, free=family.free, progress=progress)
        self.family = family

    @property
    def hessian_width(self) -> int:
        """2K: scales and shifts are taken together."""
        return 2 * self.num_classes

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64 at theta: one pass. A parameter not free gets a row of the identity."""
        if len(theta) == 1:  # its one column is a product, at a pass in place of K of them
            return self.hessian_product(theta, torch.ones_like(theta))[:, None]
        self.count_pass()
        blocks = self.loss.hessian(*self.family.affine(theta))
        hessian = self.family.pull_back_hessian(*blocks) + self.ridge.hessian()
        held = ~self.free
        hessian[held, :] = 0.0
        hessian[:, held] = 0.0
        hessian.diagonal()[held] = 1.0
        return hessian

    def hessian_product(self, theta: Tensor, step: Tensor) -> Tensor:
        """Hessian at theta (P,) times step (P,): one pass."""
        self.count_pass()
        point, direction = self.family.affine(theta), self.family.direction(step)
        product = self.family.pull_back(*self.loss.hessian_product(*point, *direction))
        return torch.where(self.free, product + self.ridge.hessian_product(step), 0.0)

    def _data(self, theta: Tensor, *, precise: bool) -> Evaluation:
        data = self.loss.evaluate(*self.family.affine(theta), precise=precise)
        gradient = self.family.pull_back(*data.gradient)
        return Evaluation(data.loss, gradient, data.largest_row_loss)

    def _is_separated(self, theta: Tensor) -> bool:
        return self.loss.is_separated(*self.family.affine(theta))
