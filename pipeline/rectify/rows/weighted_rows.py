"""Sums over rows that each count with the weight of their class: what every loss here is made of.

R rows, K classes, y = labels (R,), U = class_weights (K,). A loss is (1/S) sum_i U_{y_i} l_i, with
S = R for the plain mean of equation 11, sum_i U_{y_i} for the weighted mean of the released code.

Chunks of rows go to threads, their sums are added in order and in float64, so a result does not
depend on the number of threads.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Self, TypeVar

import torch
from torch import Tensor

from marr_pipeline.optim.solvable import Evaluation
from marr_pipeline.rectify.rows.blocks import Blocks
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources, workers
from marr_pipeline.rectify.rows.source import Rows, StoredLogits
from marr_pipeline.rectify.rows.thinning import thin_rows
from marr_pipeline.rectify.settings import Reduction

Part = TypeVar("Part")


class WeightedRows(ABC):
    """Rows, their weights, and passes over them; the losses are subclasses.

    Args:
        logits: (R, K) float16, float32 or float64, on any device, never copied whole; or another
            source of rows.
        labels: (R,) int64.
        class_weights: (K,) U; rows of a class with weight 0 do not count.
        reduction: `plain` divides by R, `weighted` by the sum of the rows' weights.
        resources: bound on memory, and the processes that share the rows: each passes over its
            own chunks, and all of them get the sums of all.
        own_row_bytes: memory that the loss takes for a row of a block beside its logits.

    Raises:
        ConfigError: the bound on memory has no room for one thread's buffers.
    """

    def __init__(
        self,
        logits: Tensor | Rows,
        labels: Tensor,
        class_weights: Tensor,
        *,
        reduction: Reduction,
        resources: Resources,
        own_row_bytes: int = 0,
    ) -> None:
        self.rows = StoredLogits(logits) if isinstance(logits, Tensor) else logits
        self.num_rows, self.num_classes = self.rows.num_rows, self.rows.num_classes
        self.device = self.rows.device
        self.memory = resources.memory
        self._reduction = reduction
        self._ranks = resources.ranks
        self._labels = labels.to(self.device)[:, None]
        self._weights = class_weights.double().to(self.device)
        self._row_weights = self._weights[self._labels[:, 0]]
        self._all_count = bool((self._weights > 0).all())
        self._blocks = Blocks(self.rows)
        self._chunks = self._ranks.share(self._blocks.chunks)
        self._num_threads = resources.num_threads(
            torch.get_num_threads(), thread_bytes=self._blocks.thread_bytes(own_row_bytes)
        )
        rows_of_class = torch.bincount(self._labels[:, 0], minlength=self.num_classes)
        self._label_shift = rows_of_class * self._weights
        self._divisor = self.num_rows if reduction == "plain" else float(self._label_shift.sum())

    def subset(self, rows: Tensor) -> Self:
        """The same loss over some rows (B,) int64 alone, in this process alone."""
        return self._over(rows.to(self.device), self._weights, UNLIMITED)

    def thin(self, rows_per_class: int) -> Self:
        """An estimate of this loss from at most that many rows of each class; see `thinning`."""
        rows, stands_for = thin_rows(self._labels[:, 0].cpu(), self.num_classes, rows_per_class)
        weights = self._weights * stands_for.to(self.device)
        few = self._over(rows.to(self.device), weights, Resources(memory=self.memory))
        few._divisor = self._divisor
        return few

    @abstractmethod
    def _over(self, rows: Tensor, weights: Tensor, resources: Resources) -> Self:
        """The same loss over some rows (B,) int64, with other class weights (K,)."""

    def _has_own_on_top(self, rectified: Callable[[slice], Iterator[tuple[slice, Tensor]]]) -> bool:
        """Whether every row that counts has its own label strictly on top; see below."""
        return self._weight_not_on_top(rectified) == 0

    def _weight_not_on_top(
        self, rectified: Callable[[slice], Iterator[tuple[slice, Tensor]]]
    ) -> float:
        """sum_i U_{y_i} over rows whose own label is not strictly on top.

        `rectified` gives the blocks of a chunk with their logits (B, K), which are overwritten.
        """

        def weigh_wrong(chunk: slice) -> Tensor:
            wrong = self._zeros(1)
            for block, logits in rectified(chunk):
                labels = self._labels[block]
                own = logits.gather(1, labels)
                others = logits.scatter_(1, labels, -math.inf).amax(1, keepdim=True)
                wrong += self._weights[labels][own <= others].sum()
            return wrong

        return float(self._sum(weigh_wrong, 1))

    def _evaluate(
        self,
        chunk_gradient: Callable[[slice], tuple[Tensor, Tensor, Tensor]],
        *shape: int,
        of_labels: Tensor | None = None,
    ) -> Evaluation:
        """Loss and gradient in one pass.

        Args:
            chunk_gradient: S times a chunk's part of the gradient, of that `shape`, and what
                `_chunk_loss` gives.
            shape: of the gradient.
            of_labels: what the labels take from S times the gradient, if it is known beforehand.
        """
        own = self._zeros(math.prod(shape) + 2)
        sums, loss, largest = own[:-2].view(shape), own[-2], own[-1]
        for gradient, weighted_loss, largest_loss in self._over_chunks(chunk_gradient):
            sums += gradient
            loss += weighted_loss
            torch.maximum(largest, largest_loss, out=largest)
        gathered = self._ranks.gather(own)
        total = gathered[:, :-2].sum(0).view(shape)
        if of_labels is not None:
            total -= of_labels
        return Evaluation(
            value=float(gathered[:, -2].sum()) / self._divisor,
            gradient=(total / self._divisor).cpu(),
            largest_row_loss=float(gathered[:, -1].max()),
        )

    def _sum(self, chunk_part: Callable[[slice], Tensor], *shape: int) -> Tensor:
        """The sum of all chunks' parts, each of that shape, in float64."""
        total = self._zeros(*shape)
        for part in self._over_chunks(chunk_part):
            total += part
        return self._ranks.gather(total).sum(0)

    def _over_chunks(self, function: Callable[[slice], Part]) -> Iterator[Part]:
        """`function` of every chunk of this process, in order.

        On all threads at once; each first asks for the rows of the chunk it may come to next.
        """
        chunks = self._chunks
        if self.device.type != "cpu":
            return map(function, chunks)
        for chunk in chunks[: self._num_threads]:
            self._ahead(chunk)

        def run(index: int) -> Part:
            if index + self._num_threads < len(chunks):
                self._ahead(chunks[index + self._num_threads])
            return function(chunks[index])

        return workers(self._num_threads).map(run, range(len(chunks)))

    def _ahead(self, chunk: slice) -> None:
        """Ask for what a chunk will need; returns at once."""
        self.rows.ahead(chunk)

    def _chunk_loss(
        self, own: Tensor, chunk: slice, rectified: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """sum_i U_{y_i} l_i of a chunk, and the largest l_i that counts; float64.

        Where a probability is too small to be held, the log-sum-exp is taken anew, so that no
        loss is infinite.

        Args:
            own: (B,) probabilities of the chunk's own labels.
            chunk: with both ends.
            rectified: logits (M, K) float64 of the rows (M,) int64.
        """
        loss = own.log().neg_().double()
        too_small = 1e4 * torch.finfo(own.dtype).tiny
        if bool(own.min() < too_small):
            vanished = (own < too_small).nonzero()[:, 0]
            for rows in torch.split(vanished, self._blocks.sizes(chunk)[0]):
                logits = rectified(chunk.start + rows)
                own_logit = logits.gather(1, self._labels[chunk][rows])[:, 0]
                loss[rows] = logits.logsumexp(1) - own_logit
        weight = self._row_weights[chunk]
        counted = loss if self._all_count else torch.where(weight > 0, loss, 0.0)
        return weight @ counted, counted.max()

    def _place(self, dtype: torch.dtype, *vectors: Tensor) -> tuple[Tensor, ...]:
        return tuple(vector.to(self.device, dtype) for vector in vectors)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)
