"""How rows are cut for a pass, and the softmax of each block.

R rows, K classes. Rows are cut into chunks, a thread's share of work, and chunks into blocks, whose
operands stay in the processor's cache. Both cuts follow from the size of the problem and from the
source of the rows alone: neither threads nor processes nor a bound on memory move them, so none
of these changes a sum.
"""

import math
import threading
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from marr_pipeline.rectify.rows.kernel import BLOCK_ROWS, kernel_for
from marr_pipeline.rectify.rows.source import Rows, StoredLogits

BLOCK_BYTES = {"cpu": 768 * 1024, "cuda": 256 * 1024**2}
"""One float32 operand of a block. On a CPU with 1 MiB of cache a core, 384 to 768 KiB was the
fastest."""
CHUNK_LOGITS = {"cpu": (2**19, 2**22), "cuda": (2**23, 2**26)}
"""Logits of a chunk, least and most: fewer are not worth handing to a thread, more would let
threads end far apart and their buffers grow."""
EVEN_CHUNKS = 32
"""Up to so many chunks there are a power of two of them, which most numbers of threads divide."""
SHORT_ROW = {torch.float32: 24, torch.float64: 40}
"""Rows of fewer logits leave torch's softmax without full vectors: 18 ns a logit at K = 10. With
the classes apart in memory and the rows together, a whole pass takes 3 to 4 ns."""
OPERANDS = 3
"""Logits, rectified logits and probabilities of a block."""
ROW_BYTES = 64
"""What a pass keeps for a row of a chunk: weight, own probability, loss, each in float64."""


class Blocks:
    """Rows block by block, in buffers that each thread keeps.

    Fresh memory would be mapped anew for every chunk, which took as long as the softmax.

    Args:
        rows: R rows over K classes.

    Attributes:
        max_rows: of a block.
        kernel: the way of a pass; None for torch's.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.kernel = kernel_for(rows.device)
        kind = rows.device.type
        at_cache = BLOCK_BYTES[kind] // (4 * rows.num_classes)
        self.max_rows = max(1, at_cache, rows.min_block_rows)
        least, most = CHUNK_LOGITS[kind]
        num_logits = rows.num_rows * rows.num_classes
        count = min(1 << max(num_logits // least, 1).bit_length() - 1, EVEN_CHUNKS)
        count = max(count, math.ceil(num_logits / most))
        self.chunks = cut(slice(0, rows.num_rows), max_length=math.ceil(rows.num_rows / count))
        self._scratch = threading.local()

    def slices(self, chunk: slice) -> list[slice]:
        """The blocks of a chunk."""
        return cut(chunk, max_length=self.max_rows)

    def sizes(self, chunk: slice) -> list[int]:
        """Rows of each block of a chunk."""
        return [block.stop - block.start for block in self.slices(chunk)]

    def thread_bytes(self, own_row_bytes: int = 0) -> int:
        """The buffers of one thread: operands in both precisions, and a chunk's sums and rows.

        Beside them `own_row_bytes` a row of a block.
        """
        chunk = self.chunks[0]
        num_blocks, num_rows = len(self.sizes(chunk)), sum(self.sizes(chunk))
        block_rows = min(self.max_rows, num_rows)
        operands = (4 + 8) * OPERANDS * block_rows * self.rows.num_classes
        sums = 8 * 2 * (num_blocks + 2) * self.rows.num_classes
        block_bytes = self.rows.block_bytes(block_rows) + own_row_bytes * block_rows
        return operands + sums + block_bytes + ROW_BYTES * num_rows

    def as_stored(self, chunk: slice, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """Logits for a kernel: a chunk whole as it is stored, or block by block in a dtype.

        Blocks begin at multiples of `summed_rows`, so that sums are the same wherever rows are.
        """
        stored = self.rows.logits if isinstance(self.rows, StoredLogits) else None
        if stored is not None and stored.stride(1) == 1:
            yield chunk, stored[chunk]
            return
        step = self.max_rows // self.summed_rows * self.summed_rows
        for start in range(chunk.start, chunk.stop, step):
            block = slice(start, min(start + step, chunk.stop))
            space = self.operands(dtype)[0][: block.stop - block.start]
            yield block, self.rows.block(block, into=space)

    @property
    def summed_rows(self) -> int:
        """Rows whose sums a kernel takes in the arithmetic of the pass."""
        return min(BLOCK_ROWS, self.max_rows)

    def logits(self, chunk: slice, dtype: torch.dtype) -> Iterator[Tensor]:
        """x (B, K) of each block of a chunk, in memory that the next block reuses."""
        space = self.operands(dtype)[0]
        for block in self.slices(chunk):
            yield self.rows.block(block, into=space[: block.stop - block.start])

    def affine(self, chunk: slice, scale: Tensor, shift: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Each block of a chunk and its scale * x + shift (B, K), which may be written to."""
        rectified = self.operands(scale.dtype)[1]
        for block, x in zip(self.slices(chunk), self.logits(chunk, scale.dtype), strict=True):
            yield block, torch.addcmul(shift, x, scale, out=rectified[: len(x)])

    def softmax(
        self, chunk: slice, scale: Tensor, shift: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """`block_softmax` of each block of a chunk."""
        for block in self.slices(chunk):
            yield self.block_softmax(block, scale, shift)

    def block_softmax(
        self, block: slice, scale: Tensor, shift: Tensor, *, confidence: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits x and P, the softmax of z = scale * x + shift, of one block: (B, K) both.

        With a confidence c (B,), the softmax of x + c (z - x). All in the dtype of scale (K,) and
        shift (K,), in memory that the next block reuses. P may be written to, x may not: it can
        be what is stored.
        """
        size = block.stop - block.start
        space, rectified, probability = self.operands(scale.dtype)
        x = self.rows.block(block, into=space[:size])
        z, p = rectified[:size], probability[:size]
        is_apart = self._has_short_rows(scale.dtype)
        if is_apart:
            torch.mul(x, scale, out=z).add_(shift)
        else:
            torch.addcmul(shift, x, scale, out=z)
        if confidence is not None:
            torch.lerp(x, z, confidence[:, None], out=z)
        self.softmax_rows(z, out=p)
        return x, p

    def softmax_rows(self, values: Tensor, *, out: Tensor) -> None:
        """Softmax of each row of values (B, K) into `out`, both of `operands`."""
        if self.kernel is not None:
            self.kernel.softmax(values, out=out)
        elif self._has_short_rows(values.dtype):
            _softmax_apart(values, out=out)
        else:
            torch.softmax(values, 1, out=out)

    def _has_short_rows(self, dtype: torch.dtype) -> bool:
        is_split = self.rows.device.type == "cpu" and self.kernel is None
        return is_split and self.rows.num_classes < SHORT_ROW[dtype]

    def operands(self, dtype: torch.dtype) -> Tensor:
        """(3, B, K) of this thread, kept; with short rows each of the three is a transposed (K, B).

        Elementwise operations and sums over classes then run along B.
        """
        spaces: dict[str, Tensor] = self._scratch.__dict__
        if str(dtype) not in spaces:
            height, width = min(self.max_rows, self.rows.num_rows), self.rows.num_classes
            is_apart = self._has_short_rows(dtype)
            shape = (OPERANDS, width, height) if is_apart else (OPERANDS, height, width)
            space = torch.empty(shape, dtype=dtype, device=self.rows.device)
            spaces[str(dtype)] = space.transpose(1, 2) if is_apart else space
        return spaces[str(dtype)]


def cut(rows: slice, *, max_length: int) -> list[slice]:
    """Slices of nearly equal length, none above `max_length`; the first is the longest."""
    length = rows.stop - rows.start
    count = max(1, math.ceil(length / max_length))
    limits = [rows.start + math.ceil(i * length / count) for i in range(count + 1)]
    return [slice(low, high) for low, high in pairwise(limits)]


def _softmax_apart(values: Tensor, *, out: Tensor) -> None:
    """Softmax of each row of values (B, K) into `out`, both with the rows together in memory."""
    torch.sub(values, values.amax(1, keepdim=True), out=out)
    out.exp_()
    out.div_(out.sum(1, keepdim=True))
