"""A whole head's loss, its gradient and its Hessian; and F, which a solver sees.

R rows, K classes, D features, z = features (R, D), y = labels (R,), U = class_weights (K,), a head
H = [W b] (K, D + 1), row after row in theta (P,), P = K (D + 1). With x = W z + b,
p = softmax(x + offset) row by row and E the one-hot labels,

    loss  L = (1/S) sum_i U_{y_i} CE(x_i + offset, y_i),        F(theta) = L(H) + R(theta)
    dL/dH   = (1/S) sum_i U_{y_i} (p_i - E_i) [z_i 1]^T
    H's Hessian times V  = (1/S) sum_i U_{y_i} p_i * (V [z_i 1] - p_i . V [z_i 1]) [z_i 1]^T

S is R for the plain mean, sum_i U_{y_i} for the weighted one. The offset (K,) is there in training
alone: log n for Balanced Softmax. With R = l2/2 |theta - center|^2, l2 > 0, F has one minimum and
F - F* <= |grad F|^2 / (2 l2). Without a ridge one vector added to every row of H changes nothing:
of the minima `centred` takes the one whose rows sum to zero, as they do at the minimum with a
ridge to zero.

One pass goes over the rows in blocks, each with two matrix products: float32 (`precise=False`) or
float64 inside a chunk of rows, float64 between chunks. Features may be a mapped file of any float
type; no more than a block of them is ever converted.

The Hessian's products are steps on the way, not what is reached: their matrix products are in
bfloat16 where the hardware multiplies it natively (`fast_precision`), sums and all that is between
them in float32. On one core with AMX such a product took a quarter of float32's time, and the
products to the minimum were as many. Nothing else is ever computed in bfloat16.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial

import torch
from torch import Tensor

from marr_pipeline.device import fast_precision
from marr_pipeline.optim.ridge import Ridge
from marr_pipeline.optim.solvable import Evaluation, Point
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.inputs import LEFT_OUT
from marr_pipeline.rectify.problem import Problem
from marr_pipeline.rectify.rows.blocks import BLOCK_BYTES, cut
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.rows.source import FeatureLogits, FeatureRows
from marr_pipeline.rectify.rows.weighted_rows import WeightedRows
from marr_pipeline.rectify.settings import Reduction

MIN_BLOCK_ROWS = 256
"""A product of fewer rows mostly waits for the head to come from memory."""
PRODUCT_ROWS = 512
"""The same of the Hessian's products, where so many rows of K logits stay in the cache: at 1280
features and 100 classes they took three quarters of the time that 256 rows take."""
KEPT_BYTES = 2**30
"""Of probabilities that a Hessian keeps, and of features in its precision. Without the former each
of its products takes half as long again. Where they are more than this they are made in the
Hessian's precision too: a matter of size alone, so that a bound on memory changes no bit."""


class HeadCrossEntropy(WeightedRows):
    """L of the module's docstring for fixed rows.

    For the other arguments and errors see `WeightedRows`; memory is bound beside the head's size.

    Args:
        features: (R, D) float16, float32 or float64, on any device, never copied whole; or such
            rows to be normalised.
        offset: (K,) added to the logits in training; None for none.
    """

    def __init__(
        self,
        features: Tensor | FeatureRows,
        labels: Tensor,
        class_weights: Tensor,
        *,
        reduction: Reduction,
        offset: Tensor | None = None,
        resources: Resources = UNLIMITED,
    ) -> None:
        rows = FeatureRows(features) if isinstance(features, Tensor) else features
        self.num_features = rows.num_features
        # Chunks and reading ahead go by the logits that a pass makes, whatever head makes them.
        no_head = torch.zeros(1).expand(len(class_weights), self.num_features)
        super().__init__(
            FeatureLogits(features=rows, weight=no_head),
            labels,
            class_weights,
            reduction=reduction,
            resources=resources,
            own_row_bytes=(4 + 8) * 2 * self.num_features,
        )
        self._features = rows
        self._offset = torch.zeros(self.num_classes) if offset is None else offset
        at_cache = BLOCK_BYTES[self.device.type] // (4 * max(self.num_classes, self.num_features))
        self._block_rows = max(MIN_BLOCK_ROWS, at_cache)
        self._precision = fast_precision(self.device)
        self._product_rows = min(max(self._block_rows, PRODUCT_ROWS), self._blocks.max_rows)

    @property
    def offset_range(self) -> float:
        """Largest difference between the offsets of two classes that are not left out."""
        taken = self._offset[self._offset > 0.5 * LEFT_OUT]
        return float(taken.max() - taken.min())

    @property
    def keeps_probabilities(self) -> bool:
        """Whether `hessian` keeps them for its products: memory has no bound, and they fit in."""
        return self.memory is None and self._are_few

    @property
    def _are_few(self) -> bool:
        """Whether all probabilities fit into `KEPT_BYTES`."""
        return 4 * self.num_rows * self.num_classes <= KEPT_BYTES

    def evaluate(self, head: Tensor, *, precise: bool) -> Evaluation:
        """Loss and gradient at a head (K, D + 1), the bias's last, in one pass over the rows."""
        dtype = torch.float64 if precise else torch.float32
        head, offset = self._place(dtype, head, self._offset)
        return self._evaluate(partial(self._chunk_gradient, head, offset), *head.shape)

    def hessian(self, head: Tensor) -> Callable[[Tensor], Tensor]:
        """The Hessian at a head (K, D + 1), as its product with a step (K, D + 1).

        A product is a pass, right to some thousandths where `fast_precision` is bfloat16, with the
        probabilities (R, K) kept or made anew. One vector added to every class changes none of
        them: of step and product what they share is left out, where rounding would bend it.
        """
        precision = torch.float32 if self._are_few else self._precision
        head, offset = self._place(precision, head - head.mean(0), self._offset)
        kept = self._probabilities(head, offset) if self.keeps_probabilities else None
        self._fast_features  # noqa: B018 - made here, once, and not by every thread

        def product(step: Tensor) -> Tensor:
            (step,) = self._place(torch.float32, step - step.mean(0))
            chunk_product = partial(self._chunk_product, head, offset, kept, step)
            total = self._sum(chunk_product, *head.shape).cpu() / self._divisor
            return total - total.mean(0)

        return product

    def curvature(self, head: Tensor) -> Tensor:
        """(1/S) sum_i U p_i (1 - p_i) (K,): how much the rows bend each class at a head (K, D + 1).

        One pass, with one matrix product.
        """
        head, offset = self._place(torch.float32, head, self._offset)

        def of_chunk(chunk: slice) -> Tensor:
            total = self._zeros(self.num_classes)
            for block, _, p in self._block_probabilities(chunk, head, offset):
                total += self._row_weights[block].float() @ torch.addcmul(p, p, p, value=-1)
            return total

        return self._sum(of_chunk, self.num_classes) / self._divisor

    @cached_property
    def moment(self) -> tuple[Tensor, Tensor]:
        """M = sum_i U [z_i 1]^T [z_i 1] / sum_i U, as its eigenvalues and eigenvectors.

        One pass, when it is first asked for; (D + 1,) and (D + 1, D + 1), float64.
        """
        width = self.num_features + 1

        def of_chunk(chunk: slice) -> Tensor:
            total = torch.zeros((width, width), device=self.device)
            for block, z in self._block_features(chunk, torch.float32):
                weight = self._row_weights[block].float()
                total[:-1, :-1].addmm_((z * weight[:, None]).T, z)
                total[-1, :-1].addmv_(z.T, weight)
                total[-1, -1] += weight.sum()
            return total

        total = self._sum(of_chunk, width, width)  # eigh reads what is below the diagonal alone
        spread, basis = torch.linalg.eigh(total / total[-1, -1])
        return spread.clamp_(min=0), basis

    def is_separated(self, head: Tensor) -> bool:
        """Whether every row that counts has its own logit strictly on top, in float64.

        Without the offset: of such a head ever larger multiples bring the loss to 0.
        """
        (head,) = self._place(torch.float64, head)
        no_offset = torch.zeros_like(head[:, 0])

        def logits(chunk: slice) -> Iterator[tuple[slice, Tensor]]:
            return ((block, x) for block, _, x in self._block_logits(chunk, head, no_offset))

        return self._has_own_on_top(logits)

    def _chunk_gradient(
        self, head: Tensor, offset: Tensor, chunk: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        """sum_i U (p - E) [z 1] (K, D + 1), sum_i U loss_i, and the largest loss that counts."""
        labels, weight = self._labels[chunk], self._row_weights[chunk].to(head.dtype)
        own = torch.empty_like(labels, dtype=head.dtype)
        total = torch.zeros_like(head)
        for block, z, residual in self._block_probabilities(chunk, head, offset):
            here = slice(block.start - chunk.start, block.stop - chunk.start)
            torch.gather(residual, 1, labels[here], out=own[here])
            residual.scatter_(1, labels[here], own[here] - 1)
            total[:, -1].addmv_(residual.T, weight[here])
            total[:, :-1].addmm_(residual.T, z * weight[here, None])
        return total, *self._chunk_loss(own[:, 0], chunk, partial(self._logits_of, head, offset))

    def _chunk_product(
        self, head: Tensor, offset: Tensor, kept: Tensor | None, step: Tensor, chunk: slice
    ) -> Tensor:
        """sum_i U p * (V [z 1] - p . V [z 1]) [z 1] (K, D + 1)."""
        weight = self._row_weights[chunk].float()[:, None]
        total = torch.zeros_like(step)
        space, _, changes = self._blocks.operands(torch.float32)
        slope = step[:, :-1].T.to(self._precision)
        if kept is None:
            blocks = self._block_probabilities(chunk, head, offset, max_length=self._product_rows)
        else:
            features = self._block_features(chunk, self._precision, max_length=self._product_rows)
            blocks = ((block, z, kept[block]) for block, z in features)
        for block, z, probability in blocks:
            z = z.to(self._precision)
            change = changes[: len(z)].copy_(z @ slope).add_(step[:, -1])
            mean = torch.mul(probability, change, out=space[: len(z)]).sum(1, keepdim=True)
            change.sub_(mean).mul_(probability)
            change.mul_(weight[block.start - chunk.start : block.stop - chunk.start])
            total[:, -1] += change.sum(0)
            total[:, :-1] += change.T.to(self._precision) @ z
        return total

    def _over(self, rows: Tensor, weights: Tensor, resources: Resources) -> "HeadCrossEntropy":
        return HeadCrossEntropy(
            self._features.take(rows),
            self._labels[rows, 0],
            weights,
            reduction=self._reduction,
            offset=self._offset,
            resources=resources,
        )

    def _probabilities(self, head: Tensor, offset: Tensor) -> Tensor:
        """p (R, K) float32, of the rows of this process."""
        kept = torch.empty((self.num_rows, self.num_classes), device=self.device)

        def fill(chunk: slice) -> None:
            for block, _, probability in self._block_probabilities(
                chunk, head, offset, max_length=self._product_rows
            ):
                kept[block] = probability

        for _ in self._over_chunks(fill):
            pass
        return kept

    def _block_probabilities(
        self, chunk: slice, head: Tensor, offset: Tensor, *, max_length: int | None = None
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, features (B, D) and p (B, K) of each block, p in memory that the next reuses."""
        for block, z, x in self._block_logits(chunk, head, offset, max_length=max_length):
            probability = self._blocks.operands(x.dtype)[1][: len(x)]
            self._blocks.softmax_rows(x, out=probability)
            yield block, z, probability

    def _block_logits(
        self, chunk: slice, head: Tensor, offset: Tensor, *, max_length: int | None = None
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, features (B, D) and x + offset (B, K) of each block of a chunk.

        x in memory that the next block reuses, float32 at least.
        """
        weight, bias = head[:, :-1].T, head[:, -1] + offset
        space = self._blocks.operands(torch.promote_types(head.dtype, torch.float32))[0]
        for block, z in self._block_features(chunk, head.dtype, max_length=max_length):
            x = space[: len(z)]
            if x.dtype == z.dtype:
                yield block, z, torch.addmm(bias, z, weight, out=x)
            else:
                yield block, z, x.copy_(z @ weight).add_(bias)

    def _block_features(
        self, chunk: slice, dtype: torch.dtype, *, max_length: int | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """Rows and features (B, D) of each block of a chunk."""
        rows = self._fast_features if dtype == self._precision else self._features
        for block in cut(chunk, max_length=max_length or self._block_rows):
            yield block, rows.block(block, dtype)

    @cached_property
    def _fast_features(self) -> FeatureRows:
        """The features in the precision of the Hessian's products, held where there is room."""
        has_room = self.memory is None and self._precision != torch.float32
        return self._features.held(KEPT_BYTES if has_room else 0, self._precision)

    def _logits_of(self, head: Tensor, offset: Tensor, rows: Tensor) -> Tensor:
        """x + offset (B, K) float64 of the rows `rows` (B,)."""
        head, offset = head.double(), offset.double()
        return torch.addmm(
            head[:, -1] + offset, self._features.block(rows, torch.float64), head[:, :-1].T
        )


class HeadProblem(Problem[HeadCrossEntropy]):
    """F of the module's docstring.

    Args:
        loss: L.
        ridge: R, to a point.
        progress: told each pass, with the loss and what it certifies.
    """

    def __init__(
        self, loss: HeadCrossEntropy, ridge: Ridge, *, progress: Progress = silent
    ) -> None:
        super().__init__(loss, ridge, progress=progress)
        self.shape = (loss.num_classes, loss.num_features + 1)

    def head(self, theta: Tensor) -> Tensor:
        """H (K, D + 1) of theta (P,), in the same memory."""
        return theta.view(self.shape)

    def hessian_operator(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
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
        return replace(data, gradient=data.gradient.flatten())

    def _is_separated(self, theta: Tensor) -> bool:
        return self.loss.is_separated(self.head(theta))
