"""Sums over rows that each count with the weight of their class: what every loss here is made of.

R rows, K classes, y = labels (R,), U = class_weights (K,). A loss is (1/S) sum_i U_{y_i} l_i, with
S = R for the plain mean of equation 11, sum_i U_{y_i} for the weighted mean of the released code.

Chunks of rows go to threads, their sums are added in order and in float64, so a result does not
depend on the number of threads.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import torch
from torch import Tensor

from marr_pipeline.rectify.rows.blocks import Blocks
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.rectify.rows.source import Rows, StoredLogits
from marr_pipeline.rectify.rows.workers import workers

Reduction = Literal["plain", "weighted"]
Part = TypeVar("Part")


class WeightedRows:
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

    def _has_own_on_top(self, rectified: Callable[[slice], Iterator[tuple[slice, Tensor]]]) -> bool:
        """Whether every row that counts has its own label strictly on top.

        Args:
            rectified: the blocks of a chunk with their logits (B, K), which are overwritten.
        """

        def count_wrong(chunk: slice) -> Tensor:
            wrong = self._zeros(1)
            for block, logits in rectified(chunk):
                labels = self._labels[block]
                own = logits.gather(1, labels)
                others = logits.scatter_(1, labels, -math.inf).amax(1, keepdim=True)
                wrong += ((own <= others) & (self._weights[labels] > 0)).sum()
            return wrong

        wrong = self._zeros(1)
        for part in self._over_chunks(count_wrong):
            wrong += part
        return not bool(self._ranks.gather(wrong).any())

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

    def _own_label_loss(
        self, own: Tensor, chunk: slice, rectified: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """-log own, (B,) float64, for the probabilities `own` (B,) of a chunk's own labels.

        Where a probability is too small to be held, the log-sum-exp is taken anew, so that no
        loss is infinite; `rectified` gives the logits (M, K) float64 of some rows (M,).
        """
        loss = own.log().neg_().double()
        too_small = 1e4 * torch.finfo(own.dtype).tiny
        if not bool(own.min() < too_small):
            return loss
        vanished = (own < too_small).nonzero()[:, 0]
        for rows in torch.split(vanished, self._blocks.sizes(chunk)[0]):
            logits = rectified(chunk.start + rows)
            own_logit = logits.gather(1, self._labels[chunk][rows])[:, 0]
            loss[rows] = logits.logsumexp(1) - own_logit
        return loss

    def _place(self, dtype: torch.dtype, *vectors: Tensor) -> tuple[Tensor, ...]:
        return tuple(vector.to(self.device, dtype) for vector in vectors)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)
