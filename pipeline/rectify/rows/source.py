"""Where rows of logits come from: memory, a mapped file, or features and a head.

V views of N samples, R = V N rows, view after view; K classes, D features. Passes take rows block
by block, so that nothing of size (R, K) is ever made.
"""

import ctypes
import mmap
from dataclasses import dataclass
from typing import Protocol

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


class Rows(Protocol):
    """R rows of logits over K classes."""

    @property
    def num_rows(self) -> int:
        """R."""

    @property
    def num_classes(self) -> int:
        """K."""

    @property
    def device(self) -> torch.device:
        """Where blocks are made."""

    @property
    def min_block_rows(self) -> int:
        """Rows below which a block costs more than its share."""

    def block_bytes(self, num_rows: int) -> int:
        """Memory that making a block of so many rows takes beside the block itself."""

    def block(self, rows: slice, *, into: Tensor | None = None) -> Tensor:
        """Logits (B, K) of consecutive rows.

        Args:
            rows: with both ends.
            into: (B, K), gives dtype and memory layout. What is stored in just that way is
                returned itself, anything else is written to `into`, which is returned. None: as
                stored, or float32.
        """

    def take(self, indices: Tensor) -> Tensor:
        """Logits (B, K) of the rows `indices` (B,) int64, in new memory."""

    def ahead(self, rows: slice) -> None:
        """Rows that will be asked for soon; returns at once."""


@dataclass(frozen=True)
class StoredLogits:
    """Logits that are there: in memory, in a mapped file, or on a GPU.

    Attributes:
        logits: (R, K) float16, float32 or float64; never copied whole.
    """

    logits: Tensor

    @property
    def num_rows(self) -> int:
        """R."""
        return self.logits.shape[0]

    @property
    def num_classes(self) -> int:
        """K."""
        return self.logits.shape[1]

    @property
    def device(self) -> torch.device:
        """Where blocks are made."""
        return self.logits.device

    @property
    def min_block_rows(self) -> int:
        """One: a row is only read."""
        return 1

    def block_bytes(self, num_rows: int) -> int:
        """None: conversions are written where they are wanted."""
        return 0

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
        if self.logits.device.type == "cpu" and self.logits.nbytes >= READ_AHEAD_FROM:
            ask_for_pages(self.logits[rows])


@dataclass(frozen=True, kw_only=True)
class FeatureLogits:
    """Logits made anew for every block: features @ weight.T + bias in float32.

    The right choice where K is much larger than D and the logits are too many to keep. A block
    of the same rows has the same bits whatever it is written into.

    Attributes:
        features: (V, N, D) float16 or float32.
        weight: (K, D) of the head.
        bias: (K,) of the head, or None.
    """

    features: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", self.weight.to(self.device, torch.float32))
        if self.bias is not None:
            object.__setattr__(self, "bias", self.bias.to(self.device, torch.float32))

    @property
    def shape(self) -> torch.Size:
        """V, N, K, as the logits in a tensor would have; so are the next three."""
        views, samples, _ = self.features.shape
        return torch.Size((views, samples, self.num_classes))

    @property
    def dtype(self) -> torch.dtype:
        """Of the logits."""
        return torch.float32

    @property
    def itemsize(self) -> int:
        """Bytes of a logit."""
        return self.dtype.itemsize

    def numel(self) -> int:
        """V N K."""
        return self.shape.numel()

    @property
    def num_rows(self) -> int:
        """R."""
        return self.features.shape[0] * self.features.shape[1]

    @property
    def num_classes(self) -> int:
        """K."""
        return self.weight.shape[0]

    @property
    def device(self) -> torch.device:
        """Where blocks are made."""
        return self.features.device

    @property
    def min_block_rows(self) -> int:
        """A product of fewer rows mostly waits for the weight to come from memory."""
        return 256

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
        if self.features.device.type == "cpu" and self.features.nbytes >= READ_AHEAD_FROM:
            ask_for_pages(self._rows[rows])

    @property
    def _rows(self) -> Tensor:
        return self.features.flatten(0, 1)

    def _product(self, features: Tensor, out: Tensor) -> Tensor:
        if self.bias is None:
            return torch.mm(features, self.weight.T, out=out)
        return torch.addmm(self.bias, features, self.weight.T, out=out)


@dataclass(frozen=True)
class PickedRows:
    """Some rows of another source, in any order, fetched anew for every block.

    Attributes:
        rows: the source.
        indices: (R,) int64 of the rows in the source.
    """

    rows: Rows
    indices: Tensor

    @property
    def num_rows(self) -> int:
        """R."""
        return len(self.indices)

    @property
    def num_classes(self) -> int:
        """K."""
        return self.rows.num_classes

    @property
    def device(self) -> torch.device:
        """Where blocks are made."""
        return self.rows.device

    @property
    def min_block_rows(self) -> int:
        """As for the source."""
        return self.rows.min_block_rows

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

    def ahead(self, rows: slice) -> None:
        """Scattered rows are not asked for."""


def ask_for_pages(tensor: Tensor) -> None:
    """Let the system read the pages of a contiguous CPU tensor, without waiting for them.

    Reading 512 MiB from a cold disk in 16 MiB parts took 0.9 s with each part asked for one part
    before its use, 2.2 s by page faults. For memory that is no file's the call does nothing. It is
    advice: a refusal changes no result, so none is looked at.
    """
    if _ADVICE is None or _MADVISE is None:
        return
    start = tensor.data_ptr()
    first_page = start - start % mmap.PAGESIZE
    _MADVISE(first_page, start - first_page + tensor.nbytes, _ADVICE)
