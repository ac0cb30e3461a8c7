"""Which way passes over rows go on a CPU: compiled, where `kernel.c` was built, else by torch.

R rows, K classes. The compiled way does for a row, while it is in the nearest cache, what torch
does in a dozen operations on a block, and lets other threads run meanwhile. Both compute what
`objective` states; sums differ in rounding between the two, and between instruction sets, of which
the widest is taken that the processor has.

The environment variable MARR_KERNEL chooses: `torch`, or a narrower set of `LEVELS`.
"""

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError

VARIABLE = "MARR_KERNEL"
LEVELS = ("plain", "v3", "v4")
"""Instruction sets, in the order of `level` in `kernel.c`: what every processor has, AVX2, AVX-512;
the latter two on x86-64 alone."""
STORED = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
"""The types that rows may be stored in, as `kernel.c` numbers them."""
ARITHMETIC = {torch.float32: "float", torch.float64: "double"}
BLOCK_ROWS = 64
"""Rows whose sums are taken in the arithmetic of the pass: fewer where a block has fewer."""
VECTOR_BYTES = 64
SCRATCH_VECTORS = 10
"""As `kernel.c` has them."""


class _Pass(ctypes.Structure):
    """`struct pass` of `kernel.c`."""

    _fields_ = (
        ("rows", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("kind", "stride", "count", "classes", "block")),
        *((name, ctypes.c_void_p) for name in ("labels", "weights")),
        *((name, ctypes.c_void_p) for name in ("scale", "shift", "scale_step", "shift_step")),
        *((name, ctypes.c_void_p) for name in ("scratch", "sums", "losses")),
    )


@dataclass(frozen=True)
class Kernel:
    """The compiled way at one of `LEVELS`."""

    level: str

    def vectors(self, *vectors: Tensor) -> Tensor:
        """scale, shift and, for a product, their steps, (K,) each, as `add` takes them."""
        width, entries = len(vectors[0]), VECTOR_BYTES // vectors[0].element_size()
        padded = vectors[0].new_zeros((len(vectors), -(-width // entries) * entries))
        padded[1, width:] = -torch.inf
        padded[:, :width] = torch.stack(vectors)
        return padded

    def add(
        self,
        logits: Tensor,
        labels: Tensor,
        weights: Tensor,
        vectors: Tensor,
        *,
        block_rows: int,
        sums: Tensor,
        losses: Tensor,
    ) -> None:
        """Add what rows have of loss and gradient, or of the Hessian's product, to sums over rows.

        Args:
            logits: x (B, K) of a type in `STORED`, a row's logits side by side.
            labels: (B,) int64.
            weights: U of each row (B,) float64.
            vectors: of `vectors`, float32 or float64: the arithmetic.
            block_rows: of a block, whose sums are in that arithmetic; a whole number of groups.
            sums: (2, K) float64: by scale and by shift.
            losses: (2,) float64: the sum of U l, and the largest l of a row that counts. A product
                leaves them.
        """
        scratch = vectors.new_empty((SCRATCH_VECTORS, vectors.shape[1]))
        points = [vector.data_ptr() for vector in vectors] + [None, None]
        task = _Pass(
            logits.data_ptr(),
            *(STORED[logits.dtype], logits.stride(0), *logits.shape, block_rows),
            *(labels.data_ptr(), weights.data_ptr()),
            *points[:4],
            *(scratch.data_ptr(), sums.data_ptr(), losses.data_ptr()),
        )
        self._call("pass", vectors.dtype, ctypes.byref(task))

    def softmax(self, values: Tensor, *, out: Tensor) -> None:
        """Softmax of each row of values (B, K), float32 or float64, into `out`; both contiguous."""
        pointers = (ctypes.c_void_p(each.data_ptr()) for each in (values, out))
        shape = (ctypes.c_int64(size) for size in values.shape)
        self._call("softmax", values.dtype, *pointers, *shape)

    def _call(self, name: str, dtype: torch.dtype, *arguments: object) -> None:
        getattr(_library(), f"{name}_{ARITHMETIC[dtype]}_{self.level}")(*arguments)


def kernel_for(device: torch.device) -> Kernel | None:
    """The compiled way on a device; None where torch's serves.

    Raises:
        ConfigError: MARR_KERNEL names no way there is, or one that this processor cannot go.
    """
    asked = os.environ.get(VARIABLE, "")
    library = _library()
    there = () if library is None else LEVELS[: library.level() + 1]
    if asked not in ("", "torch", *there):
        raise ConfigError(
            f"{VARIABLE}: one of {', '.join(('torch', *there))} expected here, got {asked}; "
            f"unset {VARIABLE}"
        )
    if device.type != "cpu" or asked == "torch" or not there:
        return None
    return Kernel(asked or there[-1])


def kernel_name() -> str:
    """How passes on the CPU go: `compiled (v4)` or `torch`."""
    kernel = kernel_for(torch.device("cpu"))
    return "torch" if kernel is None else f"compiled ({kernel.level})"


@cache
def _library() -> "ctypes.CDLL | None":
    """What was built beside this file, if it was and can be loaded."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernel{suffix}")
        if path.exists():
            try:
                return ctypes.CDLL(str(path))
            except OSError:  # built for another system
                return None
    return None
