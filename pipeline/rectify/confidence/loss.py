"""The data term of DisAlign, old and new logits mixed by one confidence a row, and its gradient.

R rows, K classes, D features; x = logits (R, K), f = features (R, D), y = labels (R,),
U = class_weights (K,). P = 2K + D + 1 parameters: scale s and shift t (K,), v (D,), c. With

    new_i = s * x_i + t,    q_i = sigmoid(v . f_i + c),    z_i = x_i + q_i (new_i - x_i)

and G_i = U_{y_i} (softmax(z_i) - onehot(y_i)) / S,

    loss    L = (1/S) sum_i U_{y_i} (logsumexp(z_i) - z_{i, y_i})
    dL/dt_j = sum_i q_i G_ij              dL/dv = sum_i r_i f_i
    dL/ds_j = sum_i q_i G_ij x_ij         dL/dc = sum_i r_i
    r_i     = q_i (1 - q_i) G_i . (new_i - x_i).

At s = 1, t = 0 the gradient in v and c is 0: nothing is there to be mixed yet.

Blocks, arithmetic and sums are those of `objective`; features are read block by block and never
copied whole.
"""

from functools import partial

import torch
from torch import Tensor

from marr_pipeline.rectify.objective import add_softmax_curvature
from marr_pipeline.rectify.rectifier import affine_logits, mixed_logits
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.rows.source import Rows, StoredLogits
from marr_pipeline.rectify.rows.weighted_rows import Evaluation, WeightedRows
from marr_pipeline.rectify.settings import Reduction


class ConfidenceCrossEntropy(WeightedRows):
    """L of the module's docstring for fixed rows.

    Args:
        logits: (R, K) float16, float32 or float64, never copied whole; or another source of rows.
        features: (R, D) float16, float32 or float64, on the device of the logits; or another
            source of rows.
        labels: (R,) int64.
        class_weights: (K,) U; rows of a class with weight 0 do not count.
        reduction: `plain` divides by R, `weighted` by the sum of the rows' weights.
        resources: bound on memory, and the processes that share the rows.

    Raises:
        ConfigError: the bound on memory has no room for one thread's buffers.
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
        super().__init__(
            logits,
            labels,
            class_weights,
            reduction=reduction,
            resources=resources,
            own_row_bytes=8 * self.num_features,
        )

    @property
    def num_parameters(self) -> int:
        """P."""
        return 2 * self.num_classes + self.num_features + 1

    def split(self, theta: Tensor) -> tuple[Tensor, ...]:
        """s (K,), t (K,), v (D,) and c (1,) of theta (P,)."""
        sizes = [self.num_classes, self.num_classes, self.num_features, 1]
        return torch.split_with_sizes(theta, sizes)

    def evaluate(self, theta: Tensor, *, precise: bool) -> Evaluation:
        """Loss and gradient at theta (P,), in one pass over the rows."""
        point = self._place(torch.float64 if precise else torch.float32, *self.split(theta))
        return self._evaluate(partial(self._chunk_gradient, point=point), self.num_parameters)

    def is_separated(self, scale: Tensor, shift: Tensor) -> bool:
        """Whether every row that counts has its own label strictly on top in s * x + t."""
        scale, shift = self._place(torch.float64, scale, shift)
        return self._has_own_on_top(lambda chunk: self._blocks.affine(chunk, scale, shift))

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64: the Gauss-Newton matrix, which is positive semidefinite where L's own
        Hessian need not be.

            (1/S) sum_i U_{y_i} J_i^T (diag P_i - P_i P_i^T) J_i,  J_i = dz_i / dtheta.
        """
        point = self._place(torch.float32, *self.split(theta))
        total = self._zeros(self.num_parameters, self.num_parameters)
        for part in self._over_chunks(partial(self._chunk_hessian, point=point)):
            total += part
        matrix: Tensor = self._ranks.gather(total).sum(0).cpu() / self._divisor
        return matrix

    def _over(
        self, rows: Tensor, weights: Tensor, resources: Resources
    ) -> "ConfidenceCrossEntropy":
        return ConfidenceCrossEntropy(
            self._picked(self.rows, rows, resources),
            self._picked(self._features, rows, resources),
            self._labels[rows, 0],
            weights,
            reduction=self._reduction,
            resources=resources,
        )

    def _chunk_gradient(
        self, chunk: slice, point: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """S times the gradient (P,), sum_i U loss_i, and the largest loss that counts."""
        scale, shift, direction, bias = point
        change = scale - 1.0
        own = torch.empty_like(self._row_weights[chunk], dtype=scale.dtype)
        sums = self._zeros(self.num_parameters)
        by_scale, by_shift, by_direction, by_bias = self.split(sums)
        for block in self._blocks.slices(chunk):
            features = self._features.block(block).to(scale.dtype)
            confidence = torch.addmv(bias, features, direction).sigmoid_()
            x, residual = self._blocks.block_softmax(block, scale, shift, confidence=confidence)
            labels, weight = self._labels[block], self._row_weights[block].to(scale.dtype)
            probability = residual.gather(1, labels)
            own[block.start - chunk.start : block.stop - chunk.start] = probability[:, 0]
            residual.scatter_(1, labels, probability - 1.0)
            mixed_weight = weight * confidence
            by_shift += torch.mv(residual.T, mixed_weight)
            slope = torch.mv(residual, shift)
            by_scale += torch.mv(residual.mul_(x).T, mixed_weight)
            slope.addmv_(residual, change)
            slope.mul_(mixed_weight).mul_(1.0 - confidence)
            by_direction += torch.mv(features.T, slope)
            by_bias += slope.sum(dtype=torch.float64)
        return sums, *self._chunk_loss(own, chunk, partial(self._mixed, point))

    def _chunk_hessian(self, chunk: slice, point: tuple[Tensor, ...]) -> Tensor:
        """S times the Gauss-Newton matrix (P, P) of a chunk."""
        scale, shift, direction, bias = point
        num_classes = self.num_classes
        affine = scale.new_zeros((3, num_classes, num_classes))
        by_confidence = scale.new_zeros((self.num_parameters, self.num_features + 1))
        for block in self._blocks.slices(chunk):
            features = self._features.block(block).to(scale.dtype)
            confidence = torch.addmv(bias, features, direction).sigmoid_()
            x, p = self._blocks.block_softmax(block, scale, shift, confidence=confidence)
            weight = self._row_weights[block].to(scale.dtype)
            change = torch.addcmul(shift, x, scale - 1.0)  # new - x
            slope = (confidence * (1.0 - confidence))[:, None]
            curved = p * (change - (p * change).sum(1, keepdim=True)) * slope
            ones = torch.cat([features, torch.ones_like(slope)], 1)
            slope = (curved * change).sum(1, keepdim=True).mul_(slope).mul_(weight[:, None])
            curved.mul_((weight * confidence)[:, None])
            by_confidence[:num_classes].addmm_((curved * x).T, ones)
            by_confidence[num_classes : 2 * num_classes].addmm_(curved.T, ones)
            by_confidence[2 * num_classes :].addmm_((slope * ones).T, ones)
            add_softmax_curvature(affine, x, p, weight * confidence.square())
        scale_scale, mixed, shift_shift = affine
        left = torch.cat([torch.cat([scale_scale, mixed.T]), torch.cat([mixed, shift_shift])], 1)
        top, corner = by_confidence[: 2 * num_classes], by_confidence[2 * num_classes :]
        matrix = torch.cat([torch.cat([left, top], 1), torch.cat([top.T, corner], 1)])
        return matrix.double()

    def _mixed(self, point: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        """Mixed logits (B, K) float64 of the rows `rows` (B,)."""
        scale, shift, direction, bias = (each.double() for each in point)
        logits, features = self.rows.take(rows).double(), self._features.take(rows).double()
        new = affine_logits(logits, scale, shift)
        return mixed_logits(logits, new, features @ direction + bias)

    def _ahead(self, chunk: slice) -> None:
        super()._ahead(chunk)
        self._features.ahead(chunk)
