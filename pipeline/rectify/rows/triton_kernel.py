"""One pass over rows of logits on a GPU, by two kernels of Triton.

R rows, K classes; the mathematics stands in `objective`. The first kernel goes over each row once
and keeps what its softmax needs: the largest entry of z = scale * x + shift, U over the sum of
exp(z - largest), the loss, and of a Hessian's product the mean of the step. The second goes over
the rows again, a block of rows and a tile of classes at a time, and adds up what they have for the
classes. So the logits are read twice and nothing of their size is written.

Blocks' sums are in the arithmetic of the pass, float32 or float64, and added in order and in
float64: no atomic operation, so that a pass repeats its bits.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, CLASSES = 8, 256
"""Of a tile, that one program holds at a time."""


class TritonKernel:
    """The way of passes on a GPU; see `kernel.Kernel`."""

    name = "triton"

    def add(
        self,
        logits: Tensor,
        labels: Tensor,
        weights: Tensor,
        point: Tensor,
        *,
        dtype: torch.dtype,
        block_rows: int,
        total: Tensor,
    ) -> None:
        """See `Kernel`."""
        num_rows, num_classes = logits.shape
        is_product, num_blocks = len(point) == 4, triton.cdiv(num_rows, block_rows)
        vectors = point.to(dtype)
        of_rows, losses = vectors.new_empty((3, num_rows)), weights.new_empty(num_rows)
        sums = vectors.new_empty((num_blocks, 2 * num_classes))
        read: tuple[Any, ...] = (logits, logits.stride(0), num_rows, num_classes, vectors, of_rows)
        tile = {"is_product": is_product, "rows": ROWS, "classes": CLASSES}
        with torch.cuda.device_of(logits):
            over_rows = (triton.cdiv(num_rows, ROWS),)
            _softmax_of_rows[over_rows](*read, labels, weights, losses, **tile)
            over_blocks = (num_blocks, triton.cdiv(num_classes, CLASSES))
            _sums_of_blocks[over_blocks](*read, sums, block_rows, **tile)
        total[:-2] += sums.sum(0, dtype=torch.float64)
        if not is_product:
            total[-2] += weights @ losses
            total[-1] = torch.maximum(total[-1], losses.max())

    def softmax(self, values: Tensor, *, out: Tensor) -> None:
        """See `Kernel`; one kernel of torch's does it."""
        torch.softmax(values, 1, out=out)


@triton.jit
def _vector(vectors, index, column, num_classes, behind):
    """Entries `column` of the index-th vector; `behind` where there is no class."""
    return tl.load(vectors + index * num_classes + column, column < num_classes, behind)


@triton.jit
def _tile(logits, stride, row, is_row, column, num_classes, vectors):
    """x, and z, which is -inf where there is no class; 0 and the shift where there is no row."""
    real = vectors.dtype.element_ty
    is_there = is_row[:, None] & (column < num_classes)[None, :]
    x = tl.load(logits + row[:, None] * stride + column[None, :], is_there, 0.0).to(real)
    scale = _vector(vectors, 0, column, num_classes, 0.0)
    shift = _vector(vectors, 1, column, num_classes, float("-inf"))
    return x, x * scale[None, :] + shift[None, :]


@triton.jit
def _change(vectors, x, column, num_classes):
    """What the step does to z."""
    scale_step = _vector(vectors, 2, column, num_classes, 0.0)
    shift_step = _vector(vectors, 3, column, num_classes, 0.0)
    return x * scale_step[None, :] + shift_step[None, :]


@triton.jit
def _softmax_of_rows(
    logits,  # (num_rows, num_classes), `stride` numbers from one row to the next
    stride,
    num_rows,
    num_classes,
    vectors,  # (2, num_classes): scale, shift; for a product (4, num_classes): their steps
    of_rows,  # (3, num_rows), written: largest z, U / sum, mean of the step
    labels,  # (num_rows,)
    weights,  # (num_rows,)
    losses,  # (num_rows,), written: 0 where the weight is
    is_product: tl.constexpr,
    rows: tl.constexpr,
    classes: tl.constexpr,
):
    row = (tl.program_id(0) * rows + tl.arange(0, rows)).to(tl.int64)
    is_row = row < num_rows
    real = vectors.dtype.element_ty
    largest = tl.full((rows,), float("-inf"), real)
    total = tl.zeros((rows,), real)
    moment = tl.zeros((rows,), real)
    for start in range(0, num_classes, classes):
        column = start + tl.arange(0, classes)
        x, z = _tile(logits, stride, row, is_row, column, num_classes, vectors)
        top = tl.maximum(largest, tl.max(z, 1))
        base = tl.where(top == float("-inf"), 0.0, top)  # of classes that are all left out
        e = tl.exp(z - base[:, None])
        rescale = tl.exp(largest - base)
        total = total * rescale + tl.sum(e, 1)
        if is_product:
            moment = moment * rescale + tl.sum(e * _change(vectors, x, column, num_classes), 1)
        largest = top
    weight = tl.load(weights + row, is_row, 0.0)
    tl.store(of_rows + row, largest, is_row)
    tl.store(of_rows + num_rows + row, weight.to(real) / total, is_row)
    if is_product:
        tl.store(of_rows + 2 * num_rows + row, moment / total, is_row)
    else:
        label = tl.load(labels + row, is_row, 0)
        x = tl.load(logits + row * stride + label, is_row, 0.0).to(real)
        own = x * tl.load(vectors + label) + tl.load(vectors + num_classes + label)
        loss = tl.log(total.to(tl.float64)) + (largest.to(tl.float64) - own.to(tl.float64))
        tl.store(losses + row, tl.where(weight > 0, loss, 0.0), is_row)


@triton.jit
def _sums_of_blocks(
    logits,  # as above
    stride,
    num_rows,
    num_classes,
    vectors,
    of_rows,
    sums,  # (blocks, 2, num_classes), written: by scale and by shift
    block_rows,
    is_product: tl.constexpr,
    rows: tl.constexpr,
    classes: tl.constexpr,
):
    block = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * classes + tl.arange(0, classes)
    real = vectors.dtype.element_ty
    by_scale = tl.zeros((classes,), real)
    by_shift = tl.zeros((classes,), real)
    end = tl.minimum((block + 1) * block_rows, num_rows)
    for start in range(0, block_rows, rows):
        row = block * block_rows + start + tl.arange(0, rows)
        is_row = row < end
        x, z = _tile(logits, stride, row, is_row, column, num_classes, vectors)
        largest = tl.load(of_rows + row, is_row, float("inf"))  # of no row: all parts are 0
        factor = tl.load(of_rows + num_rows + row, is_row, 0.0)
        part = tl.exp(z - largest[:, None]) * factor[:, None]
        if is_product:
            mean = tl.load(of_rows + 2 * num_rows + row, is_row, 0.0)
            part *= _change(vectors, x, column, num_classes) - mean[:, None]
        by_scale += tl.sum(part * x, 0)
        by_shift += tl.sum(part, 0)
    place = sums + block * 2 * num_classes + column
    tl.store(place, by_scale, column < num_classes)
    tl.store(place + num_classes, by_shift, column < num_classes)
