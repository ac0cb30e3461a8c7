"""What a solver sees of DisAlign: a function that is convex in scale and shift alone.

theta (P,) = scale s (K,), shift t (K,), v (D,), c. With the data term L of `confidence_loss` and
the quadratic R of `ridge`,

    F(theta) = L(theta) + R(theta).

Together with v and c it is not convex, so no gradient bounds F - F*, and a solver that stops where
the gradient vanishes has found a stationary point. With v and c held F is convex.
"""

from dataclasses import replace

import torch
from torch import Tensor

from marr_pipeline.optim.solvable import Point
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.confidence.loss import ConfidenceCrossEntropy
from marr_pipeline.rectify.problem import Problem
from marr_pipeline.rectify.ridge import Ridge
from marr_pipeline.rectify.rows.weighted_rows import Evaluation


class ConfidenceProblem(Problem[ConfidenceCrossEntropy]):
    """F of the module's docstring.

    Args:
        loss: the data term.
        ridge: R, over s and t; v and c are pulled to 0 with the same strength.
        is_held: whether v and c stay where they are.
        progress: told each pass, with the loss and the gradient.
    """

    is_convex = False

    def __init__(
        self,
        loss: ConfidenceCrossEntropy,
        ridge: Ridge,
        *,
        is_held: bool = False,
        progress: Progress = silent,
    ) -> None:
        free = torch.ones(loss.num_parameters, dtype=torch.bool)
        free[2 * loss.num_classes :] = not is_held
        center = _padded(ridge.center, loss.num_parameters)
        super().__init__(loss, replace(ridge, center=center), free=free, progress=progress)

    @property
    def hessian_width(self) -> int:
        """P."""
        return self.loss.num_parameters

    def has_no_minimum(self, point: Point) -> bool:
        """`is_unbounded`, asked only where every own label has more than half."""
        return super().has_no_minimum(point) and self.is_unbounded(point)

    def released(self) -> "ConfidenceProblem":
        """The same problem with v and c free; it counts its passes on."""
        problem = ConfidenceProblem(self.loss, self.ridge, progress=self._progress)
        problem.passes = self.passes
        return problem

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64, with the Gauss-Newton matrix in place of L's Hessian.

        A parameter that is not free gets a row of the identity.
        """
        self.count_pass()
        hessian = self.loss.hessian(theta) + self.ridge.hessian()
        held = ~self.free
        hessian[held, :] = 0.0
        hessian[:, held] = 0.0
        hessian.diagonal()[held] = 1.0
        return hessian

    def _data(self, theta: Tensor, *, precise: bool) -> Evaluation:
        return self.loss.evaluate(theta, precise=precise)

    def _is_separated(self, theta: Tensor) -> bool:
        """Moving s and t along (1, 0) adds multiples of q_i x_i to row i, along (s, t) multiples of
        q_i new_i: where either has every own label strictly on top, the loss falls for ever.
        """
        scale, shift, _, _ = self.loss.split(theta)
        return self.loss.is_separated(
            torch.ones_like(scale), torch.zeros_like(shift)
        ) or self.loss.is_separated(scale, shift)


def _padded(vector: Tensor, length: int) -> Tensor:
    """`vector`, with zeros up to a length; one of that length stays as it is."""
    return torch.cat([vector, vector.new_zeros(length - len(vector))])
