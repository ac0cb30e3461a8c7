"""The data term that every affine method minimises, its gradient and its Hessian.

R rows (samples times views), K classes, x = logits (R, K), y = labels (R,), U = class_weights (K,).
With z = scale * x + shift and P = softmax(z) row by row,

    loss      L = (1/S) sum_i U_{y_i} (logsumexp(z_i) - z_{i, y_i})
    dL/dshift_j = (1/S) (sum_i U_{y_i} P_ij      - sum_{i: y_i = j} U_j)
    dL/dscale_j = (1/S) (sum_i U_{y_i} P_ij x_ij - sum_{i: y_i = j} U_j x_ij)
    Hessian     = (1/S) sum_i U_{y_i} J_i^T (diag P_i - P_i P_i^T) J_i,   J_i = [diag x_i, I]

The sums over labels do not depend on scale and shift and are taken once. S is R for the plain
mean of equation 11, sum_i U_{y_i} for the weighted mean of the released code.

One pass goes over the rows in `blocks` that stay in the processor's cache, by a `kernel` or, where
there is none, by torch. Arithmetic inside a
block is float32 (`precise=False`) or float64; sums over blocks, gradients and parameters are
float64 always. Chunks' sums are added in order, so a result does not depend on the number of
threads.
"""

from functools import partial

import torch
from torch import Tensor

from marr_pipeline.optim.solvable import Evaluation
from marr_pipeline.rectify.rows.kernel import Kernel
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.rows.source import Rows, pick_rows
from marr_pipeline.rectify.rows.weighted_rows import WeightedRows
from marr_pipeline.rectify.settings import Reduction


class WeightedCrossEntropy(WeightedRows):
    """L of the module's docstring for fixed rows; for arguments and errors see `WeightedRows`."""

    def __init__(
        self,
        logits: Tensor | Rows,
        labels: Tensor,
        class_weights: Tensor,
        *,
        reduction: Reduction,
        resources: Resources = UNLIMITED,
    ) -> None:
        super().__init__(logits, labels, class_weights, reduction=reduction, resources=resources)
        own_logits = self._sum(self._chunk_own_logits, self.num_classes)
        self._of_labels = torch.stack([self._weights * own_logits, self._label_shift])

    def evaluate(self, scale: Tensor, shift: Tensor, *, precise: bool) -> Evaluation:
        """Loss and gradient (2, K), by scale and by shift, in one pass over the rows."""
        dtype = torch.float64 if precise else torch.float32
        if self._blocks.kernel is None:
            scale, shift = self._place(dtype, scale, shift)
            chunk_gradient = partial(self._chunk_gradient, scale=scale, shift=shift)
        else:
            point = torch.stack(self._place(torch.float64, scale, shift))
            chunk_gradient = partial(self._gradient_by, self._blocks.kernel, dtype, point)
        return self._evaluate(chunk_gradient, 2, self.num_classes, of_labels=self._of_labels)

    def hessian(self, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Blocks scale-scale, scale-shift, shift-shift (K, K) float64 of the Hessian.

        Costs 3 K multiplications a logit: for K of some hundreds a few passes, beyond that
        `hessian_product` is the cheaper way to a Newton step.
        """
        scale, shift = self._place(torch.float32, scale, shift)
        chunk_hessian = partial(self._chunk_hessian, scale=scale, shift=shift)
        total = self._sum(chunk_hessian, 3, self.num_classes, self.num_classes)
        scale_scale, mixed, shift_shift = total.cpu() / self._divisor
        return scale_scale, mixed, shift_shift

    def hessian_product(
        self, scale: Tensor, shift: Tensor, scale_step: Tensor, shift_step: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hessian times the step (scale_step, shift_step), each (K,), in one pass."""
        vectors = scale, shift, scale_step, shift_step
        if self._blocks.kernel is None:
            chunk_product = partial(self._chunk_product, self._place(torch.float32, *vectors))
        else:
            point = torch.stack(self._place(torch.float64, *vectors))
            chunk_product = partial(self._product_by, self._blocks.kernel, point)
        scale_part, shift_part = self._sum(chunk_product, 2, self.num_classes).cpu() / self._divisor
        return scale_part, shift_part

    def is_separated(self, scale: Tensor, shift: Tensor) -> bool:
        """Whether every row that counts has its own label strictly on top, in float64."""
        scale, shift = self._place(torch.float64, scale, shift)
        return self._has_own_on_top(lambda chunk: self._blocks.affine(chunk, scale, shift))

    def share_on_top(self, scale: Tensor, shift: Tensor) -> float:
        """Share of the rows' weight whose own label is strictly on top, in float32."""
        scale, shift = self._place(torch.float32, scale, shift)
        wrong = self._weight_not_on_top(lambda chunk: self._blocks.affine(chunk, scale, shift))
        return 1 - wrong / float(self._label_shift.sum())

    def _chunk_gradient(
        self, chunk: slice, scale: Tensor, shift: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """sum_i U P x and sum_i U P as (2, K), sum_i U loss_i, and the largest loss that counts."""
        sizes = self._blocks.sizes(chunk)
        labels, weight = self._labels[chunk], self._row_weights[chunk].to(scale.dtype)
        own = torch.empty_like(labels, dtype=scale.dtype)
        by_logit, by_one = scale.new_empty((2, len(sizes), self.num_classes))
        # Few calls a block, each into memory that is there: with several threads every further
        # call is one more hand-over of the interpreter's lock.
        for (x, probability), block_labels, block_weight, block_own, logit_sum, one_sum in zip(
            self._blocks.softmax(chunk, scale, shift),
            labels.split_with_sizes(sizes),
            weight.split_with_sizes(sizes),
            own.split_with_sizes(sizes),
            by_logit.unbind(),
            by_one.unbind(),
            strict=True,
        ):
            torch.gather(probability, 1, block_labels, out=block_own)
            torch.mv(probability.T, block_weight, out=one_sum)
            torch.mv(probability.mul_(x).T, block_weight, out=logit_sum)
        sums = torch.stack([by_logit, by_one]).sum(1, dtype=torch.float64)
        return sums, *self._chunk_loss(own[:, 0], chunk, partial(self._rectified, scale, shift))

    def _chunk_hessian(self, chunk: slice, scale: Tensor, shift: Tensor) -> Tensor:
        """(3, K, K): scale-scale, scale-shift, shift-shift."""
        weights = (
            self._row_weights[chunk].to(scale.dtype).split_with_sizes(self._blocks.sizes(chunk))
        )
        total = scale.new_zeros((3, self.num_classes, self.num_classes))
        blocks = self._blocks.softmax(chunk, scale, shift)
        for (x, probability), weight in zip(blocks, weights, strict=True):
            add_softmax_curvature(total, x, probability, weight)
        return total

    def _chunk_product(self, point: tuple[Tensor, ...], chunk: slice) -> Tensor:
        """(2, K) float64: what the Hessian times a step has for the scale and for the shift.

        `point` is scale, shift and their steps.
        """
        scale, shift, scale_step, shift_step = point
        weights = (
            self._row_weights[chunk]
            .to(scale_step.dtype)
            .split_with_sizes(self._blocks.sizes(chunk))
        )
        total = self._zeros(2, self.num_classes)
        blocks = self._blocks.softmax(chunk, scale, shift)
        for (x, probability), weight in zip(blocks, weights, strict=True):
            change = torch.addcmul(shift_step, x, scale_step)
            change.sub_((probability * change).sum(1, keepdim=True)).mul_(probability)
            total[1] += torch.mv(change.T, weight)
            total[0] += torch.mv(change.mul_(x).T, weight)
        return total

    def _gradient_by(
        self, kernel: Kernel, dtype: torch.dtype, point: Tensor, chunk: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `_chunk_gradient` gives, for a point (2, K), by a kernel."""
        total = self._total_by(kernel, dtype, point, chunk)
        return total[:-2].view(2, -1), total[-2], total[-1]

    def _product_by(self, kernel: Kernel, point: Tensor, chunk: slice) -> Tensor:
        """What `_chunk_product` gives, for a point and a step (4, K), by a kernel."""
        return self._total_by(kernel, torch.float32, point, chunk)[:-2].view(2, -1)

    def _total_by(self, kernel: Kernel, dtype: torch.dtype, point: Tensor, chunk: slice) -> Tensor:
        """(2 K + 2,) float64, as `Kernel.add` has it."""
        total = self._zeros(2 * self.num_classes + 2)
        for rows, logits in self._blocks.as_stored(chunk, dtype):
            kernel.add(
                logits,
                self._labels[rows],
                self._row_weights[rows],
                point,
                dtype=dtype,
                block_rows=self._blocks.summed_rows,
                total=total,
            )
        return total

    def _over(self, rows: Tensor, weights: Tensor, resources: Resources) -> "WeightedCrossEntropy":
        return WeightedCrossEntropy(
            pick_rows(self.rows, rows, memory=resources.memory),
            self._labels[rows, 0],
            weights,
            reduction=self._reduction,
            resources=resources,
        )

    def _rectified(self, scale: Tensor, shift: Tensor, rows: Tensor) -> Tensor:
        """Rectified logits (B, K) float64 of the rows `rows` (B,)."""
        return torch.addcmul(shift.double(), self.rows.take(rows).double(), scale.double())

    def _chunk_own_logits(self, chunk: slice) -> Tensor:
        total = self._zeros(self.num_classes)
        for rows in self._blocks.slices(chunk):
            labels = self._labels[rows]
            own = self.rows.block(rows).gather(1, labels)[:, 0]
            total.index_add_(0, labels[:, 0], own.double())
        return total


def add_softmax_curvature(total: Tensor, x: Tensor, probability: Tensor, weight: Tensor) -> None:
    """Add sum_i w_i J_i^T (diag P_i - P_i P_i^T) J_i of one block, with J_i = [diag x_i, I].

    Args:
        total: (3, K, K), scale-scale, scale-shift and shift-shift.
        x: (B, K).
        probability: P (B, K), overwritten.
        weight: w (B,), >= 0.
    """
    by_logit = probability * x
    means = (by_logit * x, by_logit, probability)
    for block, mean in zip(total, means, strict=True):
        block.diagonal().add_(torch.mv(mean.T, weight))
    root = weight.sqrt()[:, None]
    by_logit.mul_(root)
    probability.mul_(root)
    total[0].addmm_(by_logit.T, by_logit, alpha=-1)
    total[1].addmm_(by_logit.T, probability, alpha=-1)
    total[2].addmm_(probability.T, probability, alpha=-1)
