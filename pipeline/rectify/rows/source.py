"""Where rows of logits come from: memory, a mapped file, or features and a head.

V views of N samples, R = V N rows, view after view; K classes, D features. Passes take rows block
by block, so that nothing of size (R, K) is ever made.
"""

import ctypes
import mmap
from abc import ABC, abstractmethod

import torch
from torch import Tensor

READ_AHEAD_FROM = 64 * 1024**2
"""Bytes. Smaller arrays are read before asking would pay."""

_ADVICE = getattr(mmap, "MADV_WILLNEED", None)
# Not `mmap.mmap.madvise`: it keeps the interpreter's lock while the system queues the reads, and
# the mapping itself is out of reach behind a tensor.
_MADVISE = getattr(ctypes.CDLL(None), "madvise", None)
if _MADVISE is not None:
    _MADVISE.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


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
        return self.logits[indices.to(self.device)]

    def ahead(self, rows: slice) -> None:
        """See `Rows.ahead`."""
        ask_for_pages(self.logits, rows)


class FeatureLogits(Rows):
    """Logits made anew for every block: features @ weight.T + bias in float32.

    The right choice where K is much larger than D and the logits are too many to keep. A block
    of the same rows has the same bits whatever it is written into.

    Args:
        features: (V, N, D) float16 or float32.
        weight: (K, D) of the head.
        bias: (K,) of the head, or None.

    Attributes:
        shape: V, N, K, as the logits in a tensor would have.
    """

    min_block_rows = 256
    """A product of fewer rows mostly waits for the weight to come from memory."""

    def __init__(self, *, features: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
        self.device = features.device
        self.features = features
        self.weight = weight.to(self.device, torch.float32)
        self.bias = None if bias is None else bias.to(self.device, torch.float32)
        self._rows = features.flatten(0, 1)
        self.num_rows, self.num_classes = len(self._rows), len(weight)
        self.shape = torch.Size((*features.shape[:2], self.num_classes))

    def first_views(self, count: int) -> "FeatureLogits":
        """Those of the first views alone, without a copy."""
        return FeatureLogits(features=self.features[:count], weight=self.weight, bias=self.bias)

    def block_bytes(self, num_rows: int) -> int:
        """The features of the rows in float32, and their product before it is converted."""
        return num_rows * 4 * (self.features.shape[2] + self.num_classes)

    def block(self, rows: slice, *, into: Tensor | None = None) -> Tensor:
        """See `Rows.block`."""
        features = self._rows[rows].float()
        if into is not None and into.dtype == torch.float32 and into.is_contiguous():
            return self._product(features, into)
        product = features.new_empty((len(features), self.num_classes))
        self._product(features, product)
        return product if into is None else into.copy_(product)

    def take(self, indices: Tensor) -> Tensor:
        """See `Rows.take`."""
        features = self._rows[indices.to(self.device)].float()
        return self._product(features, features.new_empty((len(features), self.num_classes)))

    def ahead(self, rows: slice) -> None:
        """See `Rows.ahead`."""
        ask_for_pages(self._rows, rows)

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
