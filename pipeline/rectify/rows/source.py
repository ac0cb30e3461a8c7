"""Where rows of logits come from: memory, a mapped file, or features and a head.

V views of N samples, R = V N rows, view after view; K classes, D features. Passes take rows block
by block, so that nothing of size (R, K) is ever made.
"""

import ctypes
import math
import mmap
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

READ_AHEAD_FROM = 64 * 1024**2
"""Bytes. Smaller arrays are read before asking would pay."""

ROUNDED_SUM = 0.05
"""What rounding may change of a sum of probabilities."""

HELD_ROWS = 4096
"""Rows that are normalised at a time where they are kept."""

_ADVICE = getattr(mmap, "MADV_WILLNEED", None)
# Not `mmap.mmap.madvise`: it keeps the interpreter's lock while the system queues the reads, and
# the mapping itself is out of reach behind a tensor. Windows has neither.
_MADVISE = None if _ADVICE is None else getattr(ctypes.CDLL(None), "madvise", None)
if _MADVISE is not None:
    _MADVISE.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def are_probabilities(rows: Tensor) -> bool:
    """Whether most rows (N, K) that were given as logits have nothing below 0 and add up to 1."""
    is_one = (rows >= 0).all(1) & ((rows.sum(1) - 1).abs() <= ROUNDED_SUM)
    return bool(is_one.double().mean() > 0.5)


class Rows(ABC):
    """R rows of logits over K classes.

    Attributes:
        num_rows: R.
        num_classes: K.
        device: where blocks are made.
        min_block_rows: rows below which a block costs more than its share.
    """

    num_rows: int
    num_classes: int
    device: torch.device
    min_block_rows = 1

    def block_bytes(self, num_rows: int) -> int:
        """Memory that making a block of so many rows takes beside the block itself."""
        return 0

    @abstractmethod
    def block(self, rows: slice, *, into: Tensor | None = None) -> Tensor:
        """Logits (B, K) of consecutive rows.

        Args:
            rows: with both ends.
            into: (B, K), gives dtype and memory layout. What is stored in just that way is
                returned itself, anything else is written to `into`, which is returned. None: as
                stored, or float32.
        """

    @abstractmethod
    def take(self, indices: Tensor) -> Tensor:
        """Logits (B, K) of the rows `indices` (B,) int64, in new memory."""

    def ahead(self, rows: slice) -> None:  # noqa: B027 - scattered rows are not asked for
        """Rows that will be asked for soon; returns at once."""


class StoredLogits(Rows):
    """Logits that are there: in memory, in a mapped file, or on a GPU.

    Args:
        logits: (R, K) float16, float32 or float64; never copied whole.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.num_rows, self.num_classes = logits.shape
        self.device = logits.device

    def block(self, rows: slice, *, into: Tensor | None = None) -> Tensor:
        """See `Rows.block`."""
        stored = self.logits[rows]
        if into is None or (stored.dtype == into.dtype and stored.stride() == into.stride()):
            return stored
        return into.copy_(stored)

    def take(self, indices: Tensor) -> Tensor:
        """See `Rows.take`."""
        return self.logits.index_select(0, indices.to(self.device))

    def ahead(self, rows: slice) -> None:
        """See `Rows.ahead`."""
        ask_for_pages(self.logits, rows)


class FeatureRows:
    """Rows of features, normalised as they are taken, so that no more than a block is converted.

    Row i is z_i; (z_i - mean) * inverse_deviation where these are given; divided by its length
    where `unit`. It is worked out in float64 if the features are stored so, else in float32,
    whatever is asked for: rows that are held and rows made anew have the same bits.

    Args:
        features: (R, D) float16, float32 or float64, on any device, never copied whole.
        picked: (R,) int64, to take these rows of the features alone; None for all.
        mean: (D,), or None to leave the features as they are.
        inverse_deviation: (D,), with `mean`.
        unit: whether every row is brought to length 1; one of zeros stays.

    Attributes:
        precision: in which it is worked out.
    """

    def __init__(
        self,
        features: Tensor,
        *,
        picked: Tensor | None = None,
        mean: Tensor | None = None,
        inverse_deviation: Tensor | None = None,
        unit: bool = False,
    ) -> None:
        self.features, self.unit = features, unit
        self.device = features.device
        self.picked = None if picked is None else picked.to(self.device)
        self.num_rows = len(features if picked is None else picked)
        self.num_features = features.shape[1]
        self.precision = torch.promote_types(features.dtype, torch.float32)
        self.mean = None if mean is None else mean.to(self.device, self.precision)
        self.inverse_deviation = (
            None if inverse_deviation is None else inverse_deviation.to(self.device, self.precision)
        )

    def block(self, rows: slice | Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Rows (B, D), a slice or numbers (B,) int64, in a dtype; None for their own precision.

        What is stored in just that way is returned itself.
        """
        taken = self.features[rows if self.picked is None else self.picked[rows]]
        if self.mean is not None or self.unit:
            taken = taken.to(self.precision)
        if self.mean is not None and self.inverse_deviation is not None:
            taken = (taken - self.mean).mul_(self.inverse_deviation)
        if self.unit:
            taken = unit_rows(taken)
        return taken.to(dtype or self.precision)

    def take(self, rows: Tensor) -> "FeatureRows":
        """Some rows (B,) int64, in new memory and normalised for good."""
        return FeatureRows(self.block(rows.to(self.device)))

    def held(self, most_bytes: int, dtype: torch.dtype | None = None) -> "FeatureRows":
        """The same rows, made once where they take no more than so many bytes; else as they are.

        In a dtype; None for their own precision.
        """
        dtype = dtype or self.precision
        is_as_stored = self.mean is None and self.picked is None and not self.unit
        shape = (self.num_rows, self.num_features)
        is_there = is_as_stored and self.features.dtype == dtype
        if is_there or math.prod(shape) * dtype.itemsize > most_bytes:
            return self
        kept = self.features.new_empty(shape, dtype=dtype)
        for start in range(0, self.num_rows, HELD_ROWS):
            rows = slice(start, start + HELD_ROWS)
            kept[rows] = self.block(rows, dtype)
        return FeatureRows(kept)

    def ahead(self, rows: slice) -> None:
        """Rows that will be asked for soon; returns at once."""
        if self.picked is None:
            ask_for_pages(self.features, rows)


def unit_rows(features: Tensor) -> Tensor:
    """Rows (..., D) divided by their lengths; one of zeros stays.

    First by the power of two below the largest entry: exact, and no square leaves the range.
    """
    largest = features.abs().amax(-1, keepdim=True)
    power = torch.where(largest > 0, largest / (2 * torch.frexp(largest).mantissa), 1.0)
    return torch.nn.functional.normalize(features / power, dim=-1)


class FeatureLogits(Rows):
    """Logits made anew for every block: features @ weight.T + bias in float32.

    The right choice where K is much larger than D and the logits are too many to keep. A block
    of the same rows has the same bits whatever it is written into.

    Args:
        features: (V, N, D) float16 or float32, or rows of one view.
        weight: (K, D) of the head.
        bias: (K,) of the head, or None.
        unit: whether the head takes features of length 1.

    Attributes:
        shape: V, N, K, as the logits in a tensor would have.
    """

    min_block_rows = 256
    """A product of fewer rows mostly waits for the weight to come from memory."""

    def __init__(
        self,
        *,
        features: Tensor | FeatureRows,
        weight: Tensor,
        bias: Tensor | None = None,
        unit: bool = False,
    ) -> None:
        self.device = features.device
        if isinstance(features, Tensor):
            self.features, rows = features, FeatureRows(features.flatten(0, 1), unit=unit)
        else:
            self.features, rows = features.features[None], features
        self._rows = rows
        self.weight = weight.to(self.device, torch.float32)
        self.bias = None if bias is None else bias.to(self.device, torch.float32)
        self.num_rows, self.num_classes = self._rows.num_rows, len(weight)
        views = len(self.features)
        self.shape = torch.Size((views, self.num_rows // views, self.num_classes))

    def __getitem__(self, index: Any) -> "FeatureLogits":
        """Those of some views, `[:count]`, or of some samples, `[:, samples]`."""
        return FeatureLogits(
            features=self.features[index],
            weight=self.weight,
            bias=self.bias,
            unit=self._rows.unit,
        )

    def block_bytes(self, num_rows: int) -> int:
        """The features of the rows in float32, and their product before it is converted."""
        return num_rows * 4 * (self._rows.num_features + self.num_classes)

    def block(self, rows: slice, *, into: Tensor | None = None) -> Tensor:
        """See `Rows.block`."""
        features = self._rows.block(rows, torch.float32)
        if into is not None and into.dtype == torch.float32 and into.is_contiguous():
            return self._product(features, into)
        product = features.new_empty((len(features), self.num_classes))
        self._product(features, product)
        return product if into is None else into.copy_(product)

    def take(self, indices: Tensor) -> Tensor:
        """See `Rows.take`."""
        features = self._rows.block(indices.to(self.device), torch.float32)
        return self._product(features, features.new_empty((len(features), self.num_classes)))

    def ahead(self, rows: slice) -> None:
        """See `Rows.ahead`."""
        self._rows.ahead(rows)

    def _product(self, features: Tensor, out: Tensor) -> Tensor:
        if self.bias is None:
            return torch.mm(features, self.weight.T, out=out)
        return torch.addmm(self.bias, features, self.weight.T, out=out)


class PickedRows(Rows):
    """Some rows of another source, in any order, fetched anew for every block.

    Args:
        rows: the source.
        indices: (R,) int64 of the rows in the source.
    """

    def __init__(self, rows: Rows, indices: Tensor) -> None:
        self.rows, self.indices = rows, indices
        self.num_rows, self.num_classes = len(indices), rows.num_classes
        self.device, self.min_block_rows = rows.device, rows.min_block_rows

    def block_bytes(self, num_rows: int) -> int:
        """What the source takes, and the rows before they are converted."""
        return self.rows.block_bytes(num_rows) + 8 * num_rows * self.num_classes

    def block(self, rows: slice, *, into: Tensor | None = None) -> Tensor:
        """See `Rows.block`."""
        taken = self.rows.take(self.indices[rows])
        return taken if into is None else into.copy_(taken)

    def take(self, indices: Tensor) -> Tensor:
        """See `Rows.take`."""
        return self.rows.take(self.indices[indices.to(self.indices.device)])


def pick_rows(source: Rows, rows: Tensor, *, memory: int | None) -> Rows:
    """Some rows (B,) int64 of a source: copied, or where memory is bound fetched block by block."""
    return StoredLogits(source.take(rows)) if memory is None else PickedRows(source, rows)


def ask_for_pages(tensor: Tensor, rows: slice) -> None:
    """Let the system read some rows of a contiguous and large CPU tensor, without waiting for them.

    Reading 512 MiB from a cold disk in 16 MiB parts took 0.9 s with each part asked for one part
    before its use, 2.2 s by page faults. For memory that is no file's the call does nothing. It is
    advice: a refusal changes no result, so none is looked at.
    """
    if _ADVICE is None or _MADVISE is None:
        return
    if tensor.device.type != "cpu" or tensor.nbytes < READ_AHEAD_FROM:
        return
    part = tensor[rows]
    start = part.data_ptr()
    first_page = start - start % mmap.PAGESIZE
    _MADVISE(first_page, start - first_page + part.nbytes, _ADVICE)
