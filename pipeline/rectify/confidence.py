"""DisAlign's loss: old and new logits mixed by one confidence a row; and F, which a solver sees.

R rows, K classes, D features; x = logits (R, K), f = features (R, D), y = labels (R,),
U = class_weights (K,). theta (P,), P = 2K + D + 1: scale s and shift t (K,), v (D,), c. With

    new_i = s * x_i + t,    q_i = sigmoid(v . f_i + c),    z_i = x_i + q_i (new_i - x_i),

    L = (1/S) sum_i U_{y_i} (logsumexp(z_i) - z_{i, y_i}),    F(theta) = L(theta) + R(theta)

with R the quadratic of `ridge`. The gradient is autograd's, block by block. At s = 1, t = 0 that in
v and c is 0: nothing is there to be mixed yet.

With v and c held F is convex. With them it is not, so no gradient bounds F - F*, and a solver that
stops where the gradient vanishes has found a stationary point.
"""

from dataclasses import replace
from functools import partial
from typing import Self

import torch
from torch import Tensor

from marr_pipeline.optim.ridge import Ridge
from marr_pipeline.optim.solvable import Evaluation, Point
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.objective import add_softmax_curvature
from marr_pipeline.rectify.problem import CurvedProblem
from marr_pipeline.rectify.rectifier import affine_logits, mixed_logits
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.rows.source import Rows, StoredLogits, pick_rows
from marr_pipeline.rectify.rows.weighted_rows import WeightedRows
from marr_pipeline.rectify.settings import Reduction

TAPE = 6
"""Arrays of a block, of its logits' size, that autograd keeps."""


class ConfidenceCrossEntropy(WeightedRows):
    """L of the module's docstring for fixed rows.

    Args:
        features: (R, D) float16, float32 or float64, on the device of the logits; or another
            source of rows. For the others see `WeightedRows`.
    """

    def __init__(
        self,
        logits: Tensor | Rows,
        features: Tensor | Rows,
        labels: Tensor,
        class_weights: Tensor,
        *,
        reduction: Reduction,
        resources: Resources = UNLIMITED,
    ) -> None:
        self._features = StoredLogits(features) if isinstance(features, Tensor) else features
        self.num_features = self._features.num_classes
        num_classes = len(class_weights)
        self.num_parameters = 2 * num_classes + self.num_features + 1
        super().__init__(
            logits,
            labels,
            class_weights,
            reduction=reduction,
            resources=resources,
            own_row_bytes=8 * (self.num_features + TAPE * num_classes),
        )

    def split(self, theta: Tensor) -> tuple[Tensor, ...]:
        """s (K,), t (K,), v (D,) and c (1,) of theta (P,)."""
        sizes = [self.num_classes, self.num_classes, self.num_features, 1]
        return torch.split_with_sizes(theta, sizes)

    def evaluate(self, theta: Tensor, *, precise: bool) -> Evaluation:
        """Loss and gradient at theta (P,), in one pass over the rows."""
        (theta,) = self._place(torch.float64 if precise else torch.float32, theta)
        return self._evaluate(partial(self._chunk_gradient, theta), self.num_parameters)

    def is_separated(self, scale: Tensor, shift: Tensor) -> bool:
        """Whether every row that counts has its own label strictly on top in s * x + t."""
        scale, shift = self._place(torch.float64, scale, shift)
        return self._has_own_on_top(lambda chunk: self._blocks.affine(chunk, scale, shift))

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64: two blocks of the Gauss-Newton matrix, positive semidefinite.

        That in (s, t), with the confidences as they are, and that in (v, c), with the new logits as
        they are; what is between the two counts as 0. It shows a solver the way; where it leads,
        the gradient decides.
        """
        (theta,) = self._place(torch.float32, theta)
        width = self.num_features + 1
        matrix = self._zeros(self.num_parameters, self.num_parameters)
        for affine, confidence in self._over_chunks(partial(self._chunk_hessian, theta)):
            scale, mixed, shift = affine
            matrix[:-width, :-width] += torch.cat(
                [torch.cat([scale, mixed], 1), torch.cat([mixed.T, shift], 1)]
            )
            matrix[-width:, -width:] += confidence
        return self._ranks.gather(matrix).sum(0).cpu() / self._divisor

    def _chunk_gradient(self, theta: Tensor, chunk: slice) -> tuple[Tensor, Tensor, Tensor]:
        """S times the gradient (P,), sum_i U loss_i, and the largest loss that counts."""
        theta = theta.detach().requires_grad_()  # a leaf of this thread's own
        gradient, loss, largest = self._zeros(self.num_parameters), self._zeros(), self._zeros()
        for block in self._blocks.slices(chunk):
            x, features = (
                source.block(block).to(theta.dtype) for source in (self.rows, self._features)
            )
            scale, shift, direction, bias = self.split(theta)
            z = mixed_logits(x, affine_logits(x, scale, shift), features @ direction + bias)
            labels, weight = self._labels[block, 0], self._row_weights[block]
            losses = torch.nn.functional.cross_entropy(z, labels, reduction="none")
            gradient += torch.autograd.grad(losses @ weight.to(theta.dtype), theta)[0]
            losses = losses.detach().double()
            loss += losses @ weight
            torch.maximum(largest, torch.where(weight > 0, losses, 0.0).max(), out=largest)
        return gradient, loss, largest

    def _chunk_hessian(self, theta: Tensor, chunk: slice) -> tuple[Tensor, Tensor]:
        """S times a chunk's parts: in s and t (3, K, K) as `objective` has it, in v and c.

        (s, t): sum_i U q_i^2 [diag x_i, I]^T (diag P_i - P_i P_i^T) [diag x_i, I]
        (v, c): sum_i U q_i^2 (1 - q_i)^2 Var_{P_i}(new_i - x_i) [f_i 1]^T [f_i 1]
        """
        scale, shift, direction, bias = self.split(theta)
        of_affine = theta.new_zeros((3, self.num_classes, self.num_classes))
        of_confidence = theta.new_zeros((self.num_features + 1, self.num_features + 1))
        for block in self._blocks.slices(chunk):
            features = self._features.block(block).to(theta.dtype)
            q = torch.sigmoid(features @ direction + bias)
            x, probability = self._blocks.block_softmax(block, scale, shift, confidence=q)
            change = affine_logits(x, scale - 1.0, shift)
            change -= (probability * change).sum(1, keepdim=True)
            weight = self._row_weights[block].to(theta.dtype) * q.square()
            curved = weight * (1.0 - q).square() * (probability * change.square()).sum(1)
            ones = torch.cat([features, torch.ones_like(features[:, :1])], 1)
            of_confidence.addmm_((ones * curved[:, None]).T, ones)
            add_softmax_curvature(of_affine, x, probability, weight)
        return of_affine, of_confidence

    def _over(
        self, rows: Tensor, weights: Tensor, resources: Resources
    ) -> "ConfidenceCrossEntropy":
        return ConfidenceCrossEntropy(
            pick_rows(self.rows, rows, memory=resources.memory),
            pick_rows(self._features, rows, memory=resources.memory),
            self._labels[rows, 0],
            weights,
            reduction=self._reduction,
            resources=resources,
        )

    def _ahead(self, chunk: slice) -> None:
        super()._ahead(chunk)
        self._features.ahead(chunk)


class ConfidenceProblem(CurvedProblem[ConfidenceCrossEntropy]):
    """F of the module's docstring.

    Args:
        loss: L.
        ridge: R over s and t; v and c are pulled to 0 with the same strength.
        progress: told each pass, with the loss and the gradient.
    """

    is_convex = False

    def __init__(
        self, loss: ConfidenceCrossEntropy, ridge: Ridge, *, progress: Progress = silent
    ) -> None:
        zeros = torch.zeros(loss.num_features + 1, dtype=torch.float64)
        ridge = replace(
            ridge,
            center=torch.cat([ridge.center, zeros]),
            origin=None if ridge.origin is None else torch.cat([ridge.origin, zeros]),
        )
        super().__init__(loss, ridge, progress=progress)

    def has_no_minimum(self, point: Point) -> bool:
        """`is_unbounded`, asked only where every own label has more than half."""
        return super().has_no_minimum(point) and self.is_unbounded(point)

    def with_confidence_held(self) -> Self:
        """The same problem with v and c where they are; its passes count in this one."""
        held = self._standing_for_this(self.loss)
        held.free = torch.arange(self.loss.num_parameters) < 2 * self.num_classes
        return held

    def _data_hessian(self, theta: Tensor) -> Tensor:
        return self.loss.hessian(theta)

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
