"""The data term that every affine method minimises, its gradient and its Hessian.

R rows (samples times views), K classes, x = logits (R, K), y = labels (R,), U = class_weights (K,).
With z = scale * x + shift and P = softmax(z) row by row,

    loss      L = (1/S) sum_i U_{y_i} (logsumexp(z_i) - z_{i, y_i})
    dL/dshift_j = (1/S) (sum_i U_{y_i} P_ij      - sum_{i: y_i = j} U_j)
    dL/dscale_j = (1/S) (sum_i U_{y_i} P_ij x_ij - sum_{i: y_i = j} U_j x_ij)
    Hessian     = (1/S) sum_i U_{y_i} J_i^T (diag P_i - P_i P_i^T) J_i,   J_i = [diag x_i, I]

The sums over labels do not depend on scale and shift and are taken once. S is R for the plain
mean of equation 11, sum_i U_{y_i} for the weighted mean of the released code.

One pass goes over the rows in blocks that stay in the processor's cache. Arithmetic inside a block
is float32 (`precise=False`) or float64; sums over blocks, gradients and parameters are float64
always. Rows are cut into chunks whose limits depend on the problem alone, and the chunks' sums are
added in order, so a result does not depend on the number of threads.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

import torch
from torch import Tensor

from pipeline.rectify.workers import workers

Reduction = Literal["plain", "weighted"]
Part = TypeVar("Part")

BLOCK_BYTES = {"cpu": 768 * 1024, "cuda": 256 * 1024**2}
"""One operand of a block. On a CPU with 1 MiB of cache a core, 512 to 768 KiB was the fastest."""
CHUNK_LOGITS = 2**19
"""At least so many logits to a chunk: fewer are not worth handing to a thread."""
MAX_CHUNKS = 64
"""Enough to keep many threads busy, few enough that their sums are small."""
TORCH_GRAIN = 2**15
"""Operations on no more elements than this torch never splits over threads."""
SHORT_ROW = {torch.float32: 16, torch.float64: 64}
"""Rows shorter than this leave torch's softmax kernel without full vectors: 18 ns a logit at
K = 10 in place of the 3 ns that its four parts take one by one."""


@dataclass(frozen=True)
class Evaluation:
    """Loss and gradient at one scale and shift.

    Attributes:
        loss: L, without any ridge.
        scale_gradient: (K,) float64 on the CPU.
        shift_gradient: (K,) float64 on the CPU.
        largest_row_loss: of the rows whose weight is not 0. Below log 2 every row's own label has
            more than half of the probability, which proves that the rows can be separated.
    """

    loss: float
    scale_gradient: Tensor
    shift_gradient: Tensor
    largest_row_loss: float


@dataclass(frozen=True)
class _Block:
    """A few rows of a chunk, in memory that the next block reuses."""

    index: int
    inside: slice  # counted from the chunk's first row
    logits: Tensor  # (B, K), in the arithmetic's dtype
    probability: Tensor  # (B, K)


class WeightedCrossEntropy:
    """L of the module's docstring for fixed rows.

    Args:
        logits: (R, K) float16, float32 or float64, on any device; never copied whole.
        labels: (R,) int64.
        class_weights: (K,) U; rows of a class with weight 0 do not count.
        reduction: `plain` divides by R, `weighted` by the sum of the rows' weights.
    """

    def __init__(
        self, logits: Tensor, labels: Tensor, class_weights: Tensor, *, reduction: Reduction
    ) -> None:
        self.logits = logits
        self.num_rows, self.num_classes = logits.shape
        self._reduction = reduction
        self._labels = labels.to(logits.device)[:, None]
        self._weights = class_weights.double().to(logits.device)
        num_chunks = min(max(logits.numel() // CHUNK_LOGITS, 1), MAX_CHUNKS)
        self._chunks = _cut(0, self.num_rows, max_length=math.ceil(self.num_rows / num_chunks))
        self._scratch = threading.local()
        label_weight = torch.bincount(self._labels[:, 0], minlength=self.num_classes)
        self._label_shift = label_weight * self._weights
        self._label_scale = self._weights * self._sum_own_logits()
        self._divisor = self.num_rows if reduction == "plain" else float(self._label_shift.sum())

    def evaluate(self, scale: Tensor, shift: Tensor, *, precise: bool) -> Evaluation:
        """Loss and gradient at scale (K,), shift (K,), in one pass over the rows."""
        scale, shift = self._place(torch.float64 if precise else torch.float32, scale, shift)

        def sums(chunk: slice) -> tuple[Tensor, Tensor, Tensor]:
            return self._chunk_gradient(chunk, scale, shift)

        parts = self._over_chunks(sums)
        gradient, loss, largest = (torch.stack(part) for part in zip(*parts, strict=True))
        scale_sum, shift_sum = gradient.sum(0)
        return Evaluation(
            loss=float(loss.sum()) / self._divisor,
            scale_gradient=((scale_sum - self._label_scale) / self._divisor).cpu(),
            shift_gradient=((shift_sum - self._label_shift) / self._divisor).cpu(),
            largest_row_loss=float(largest.max()),
        )

    def subset(self, rows: Tensor) -> "WeightedCrossEntropy":
        """The same loss over some rows (B,) int64 alone."""
        rows = rows.to(self.logits.device)
        return WeightedCrossEntropy(
            self.logits[rows], self._labels[rows, 0], self._weights, reduction=self._reduction
        )

    def hessian(self, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Blocks scale-scale, scale-shift, shift-shift (K, K) float64 of the Hessian.

        Costs 3 K multiplications a logit: for K of some hundreds a few passes, beyond that
        `hessian_product` is the cheaper way to a Newton step.
        """
        scale, shift = self._place(torch.float32, scale, shift)
        total = torch.zeros((3, self.num_classes, self.num_classes), dtype=torch.float64)
        for part in self._over_chunks(lambda chunk: self._chunk_hessian(chunk, scale, shift)):
            total += part.cpu()
        scale_scale, mixed, shift_shift = total / self._divisor
        return scale_scale, mixed, shift_shift

    def hessian_product(
        self, scale: Tensor, shift: Tensor, scale_step: Tensor, shift_step: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hessian times the step (scale_step, shift_step), each (K,), in one pass."""
        point = self._place(torch.float32, scale, shift)
        step = self._place(torch.float32, scale_step, shift_step)
        parts = self._over_chunks(lambda chunk: self._chunk_product(chunk, point, step))
        scale_part, shift_part = torch.stack(list(parts)).sum(0).cpu() / self._divisor
        return scale_part, shift_part

    def is_separated(self, scale: Tensor, shift: Tensor) -> bool:
        """Whether every row that counts has its own label strictly on top, in float64."""
        scale, shift = self._place(torch.float64, scale, shift)
        for chunk in self._chunks:
            labels = self._labels[chunk]
            rectified = torch.addcmul(shift, self.logits[chunk].double(), scale)
            own = rectified.gather(1, labels)
            others = rectified.scatter_(1, labels, -math.inf).amax(1, keepdim=True)
            if bool(((own <= others) & (self._weights[labels] > 0)).any()):
                return False
        return True

    def _chunk_gradient(
        self, chunk: slice, scale: Tensor, shift: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """sum_i U P x and sum_i U P as (2, K), sum_i U loss_i, and the largest loss that counts."""
        labels = self._labels[chunk]
        weight = self._row_weights(chunk, scale.dtype)
        own = torch.empty_like(labels, dtype=scale.dtype)
        sums = scale.new_empty((2, self._num_blocks(chunk, scale.dtype), self.num_classes))
        # Few calls a block, each into memory that is there: with several threads every further
        # call is one more hand-over of the interpreter's lock.
        for block in self._blocks(chunk, scale, shift):
            probability, block_weight = block.probability, weight[block.inside]
            torch.gather(probability, 1, labels[block.inside], out=own[block.inside])
            torch.mv(probability.T, block_weight, out=sums[1, block.index])
            torch.mv(probability.mul_(block.logits).T, block_weight, out=sums[0, block.index])
        loss = self._own_label_loss(own[:, 0], chunk, scale, shift)
        loss = torch.where(weight > 0, loss, 0.0)
        return sums.sum(1, dtype=torch.float64), weight.double() @ loss, loss.max()

    def _chunk_hessian(self, chunk: slice, scale: Tensor, shift: Tensor) -> Tensor:
        """(3, K, K) float64: scale-scale, scale-shift, shift-shift."""
        weight = self._row_weights(chunk, scale.dtype)
        products = scale.new_zeros((3, self.num_classes, self.num_classes))
        means = scale.new_zeros((3, self.num_classes))
        for block in self._blocks(chunk, scale, shift):
            x, probability, block_weight = block.logits, block.probability, weight[block.inside]
            by_logit = probability * x
            means[2] += torch.mv(probability.T, block_weight)
            means[1] += torch.mv(by_logit.T, block_weight)
            means[0] += torch.mv((by_logit * x).T, block_weight)
            root = block_weight.sqrt()[:, None]
            by_logit.mul_(root)
            probability.mul_(root)
            products[0].addmm_(by_logit.T, by_logit)
            products[1].addmm_(by_logit.T, probability)
            products[2].addmm_(probability.T, probability)
        return (torch.diag_embed(means) - products).double()

    def _chunk_product(
        self, chunk: slice, point: tuple[Tensor, ...], step: tuple[Tensor, ...]
    ) -> Tensor:
        """(2, K) float64: what the Hessian times the step has for the scale and for the shift."""
        (scale, shift), (scale_step, shift_step) = point, step
        weight = self._row_weights(chunk, scale.dtype)
        total = scale.new_zeros((2, self.num_classes), dtype=torch.float64)
        for block in self._blocks(chunk, scale, shift):
            change = torch.addcmul(shift_step, block.logits, scale_step)
            change.sub_((block.probability * change).sum(1, keepdim=True)).mul_(block.probability)
            total[1] += torch.mv(change.T, weight[block.inside])
            total[0] += torch.mv(change.mul_(block.logits).T, weight[block.inside])
        return total

    def _over_chunks(self, function: Callable[[slice], Part]) -> Iterable[Part]:
        """`function` of every chunk, in order; on all cores where a core has enough to do."""
        if self.logits.device.type != "cpu" or self.logits.numel() <= TORCH_GRAIN:
            return map(function, self._chunks)
        return workers(torch.get_num_threads()).map(function, self._chunks)

    def _blocks(self, chunk: slice, scale: Tensor, shift: Tensor) -> Iterator[_Block]:
        """softmax(scale * x + shift) over a chunk, block by block."""
        rows = _cut(chunk.start, chunk.stop, max_length=self._block_rows(scale.dtype))
        space = self._space(scale.dtype)
        for index, block in enumerate(rows):
            size = block.stop - block.start
            rectified, probability = space[0, :size], space[1, :size]
            x = self.logits[block].to(scale.dtype)
            torch.addcmul(shift, x, scale, out=rectified)
            _softmax_rows(rectified, out=probability)
            inside = slice(block.start - chunk.start, block.stop - chunk.start)
            yield _Block(index=index, inside=inside, logits=x, probability=probability)

    def _space(self, dtype: torch.dtype) -> Tensor:
        """(2, B, K) of this thread, kept.

        Fresh memory would be mapped anew for every chunk, which took as long as the softmax.
        """
        spaces: dict[str, Tensor] = self._scratch.__dict__
        if str(dtype) not in spaces:
            shape = (2, self._block_rows(dtype), self.num_classes)
            spaces[str(dtype)] = torch.empty(shape, dtype=dtype, device=self.logits.device)
        return spaces[str(dtype)]

    def _block_rows(self, dtype: torch.dtype) -> int:
        budget = BLOCK_BYTES[self.logits.device.type]
        return max(1, budget // (self.num_classes * dtype.itemsize))

    def _num_blocks(self, chunk: slice, dtype: torch.dtype) -> int:
        return len(_cut(chunk.start, chunk.stop, max_length=self._block_rows(dtype)))

    def _row_weights(self, chunk: slice, dtype: torch.dtype) -> Tensor:
        return self._weights.to(dtype)[self._labels[chunk, 0]]

    def _own_label_loss(self, own: Tensor, chunk: slice, scale: Tensor, shift: Tensor) -> Tensor:
        """-log own, (B,) float64, for the probabilities `own` (B,) of a chunk's own labels.

        Where a probability is too small to be held, the log-sum-exp is taken anew, so that no
        loss is infinite.
        """
        loss = -own.double().log()
        vanished = (own < 1e4 * torch.finfo(own.dtype).tiny).nonzero()[:, 0]
        if vanished.numel():
            logits = self.logits[chunk][vanished].double()
            rectified = torch.addcmul(shift.double(), logits, scale.double())
            own_logit = rectified.gather(1, self._labels[chunk][vanished])[:, 0]
            loss[vanished] = rectified.logsumexp(1) - own_logit
        return loss

    def _place(self, dtype: torch.dtype, *vectors: Tensor) -> tuple[Tensor, ...]:
        return tuple(vector.to(self.logits.device, dtype) for vector in vectors)

    def _sum_own_logits(self) -> Tensor:
        """sum_{i: y_i = j} x_ij, (K,) float64."""
        own = self.logits.gather(1, self._labels)[:, 0].double()
        zeros = torch.zeros(self.num_classes, dtype=torch.float64, device=own.device)
        return zeros.index_add_(0, self._labels[:, 0], own)


def _cut(start: int, stop: int, *, max_length: int) -> list[slice]:
    """Slices of nearly equal length, none above `max_length`; the first is the longest."""
    count = max(1, math.ceil((stop - start) / max_length))
    limits = [start + math.ceil(i * (stop - start) / count) for i in range(count + 1)]
    return [slice(low, high) for low, high in pairwise(limits)]


def _softmax_rows(values: Tensor, *, out: Tensor) -> None:
    """Softmax of each row of values (B, K) into `out`."""
    if values.device.type != "cpu" or values.shape[1] >= SHORT_ROW[values.dtype]:
        torch.softmax(values, 1, out=out)
        return
    torch.sub(values, values.amax(1, keepdim=True), out=out)
    out.exp_()
    out.div_(out.sum(1, keepdim=True))
