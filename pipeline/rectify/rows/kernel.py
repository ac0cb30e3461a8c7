"""Which way passes over rows go: on a CPU compiled, where `kernel.c` was built; on a GPU by Triton.

R rows, K classes. Either does for a row, while it is in the nearest cache, what torch does in a
dozen operations on a block; the compiled way lets other threads run meanwhile. Where neither is to
be had torch serves. All compute what `objective` states; sums differ in rounding between them, and
between instruction sets, of which the widest is taken that the processor has.

The environment variable MARR_KERNEL chooses: `torch`, on a CPU also a narrower set of `LEVELS`.
"""

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Protocol
from zlib import crc32

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError

CPU = torch.device("cpu")
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
SCRATCH_VECTORS = 14
"""As `kernel.c` has them."""


class Kernel(Protocol):
    """A way of a pass other than torch's.

    Attributes:
        name: for who asks which way was taken.
    """

    @property
    def name(self) -> str:
        """See above."""

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
        """Add what rows have of loss and gradient, or of the Hessian's product, to sums over rows.

        Args:
            logits: x (B, K) of a type in `STORED`, a row's logits side by side.
            labels: (B,) int64, contiguous.
            weights: U of each row (B,) float64, contiguous.
            point: scale and shift (2, K), for a product with their steps (4, K); float64,
                contiguous.
            dtype: of the arithmetic, float32 or float64.
            block_rows: of a block, whose sums are in that arithmetic.
            total: (2 K + 2,) float64: by scale, by shift, the sum of U l, and the largest l of a
                row that counts. A product leaves the last two.
        """

    def softmax(self, values: Tensor, *, out: Tensor) -> None:
        """Softmax of each row of values (B, K), float32 or float64, into `out`; both contiguous."""


class _Pass(ctypes.Structure):
    """`struct pass` of `kernel.c`."""

    _fields_ = (
        ("rows", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("kind", "stride", "count", "classes", "block")),
        *((name, ctypes.c_void_p) for name in ("labels", "weights", "point")),
        ("is_product", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("scratch", "sums", "loss")),
    )


@dataclass(frozen=True)
class Compiled:
    """`kernel.c` at one of `LEVELS`."""

    level: str

    @property
    def name(self) -> str:
        """See `Kernel`."""
        return f"compiled ({self.level})"

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
        vector_bytes = -(-logits.shape[1] * dtype.itemsize // VECTOR_BYTES) * VECTOR_BYTES
        scratch = torch.empty(SCRATCH_VECTORS * vector_bytes, dtype=torch.uint8)
        sums = total.data_ptr()
        task = _Pass(
            logits.data_ptr(),
            *(STORED[logits.dtype], logits.stride(0), *logits.shape, block_rows),
            *(labels.data_ptr(), weights.data_ptr(), point.data_ptr(), len(point) == 4),
            *(scratch.data_ptr(), sums, sums + point[:2].nbytes),
        )
        self._call("pass", dtype, ctypes.byref(task))

    def softmax(self, values: Tensor, *, out: Tensor) -> None:
        """See `Kernel`."""
        pointers = (ctypes.c_void_p(each.data_ptr()) for each in (values, out))
        shape = (ctypes.c_int64(size) for size in values.shape)
        self._call("softmax", values.dtype, *pointers, *shape)

    def _call(self, name: str, dtype: torch.dtype, *arguments: object) -> None:
        getattr(_library(), f"{name}_{ARITHMETIC[dtype]}_{self.level}")(*arguments)


def kernel_for(device: torch.device) -> Kernel | None:
    """The way of passes on a device; None where torch's serves.

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
    if asked == "torch":
        return None
    if device.type == "cuda":
        return _on_gpu(device)
    return Compiled(asked or there[-1]) if device.type == "cpu" and there else None


def kernel_name(device: torch.device = CPU) -> str:
    """How passes on a device go: `compiled (v4)`, `triton` or `torch`."""
    kernel = kernel_for(device)
    return "torch" if kernel is None else kernel.name


@cache
def _on_gpu(device: torch.device) -> Kernel | None:
    """Triton's way, if it can be gone: it needs a GPU that it knows, and a C compiler."""
    try:
        from marr_pipeline.rectify.rows.triton_kernel import TritonKernel

        kernel, ones = TritonKernel(), torch.ones((4, 2), dtype=torch.float64, device=device)
        labels, total = torch.zeros(2, dtype=torch.int64, device=device), ones.new_zeros(6)
        for point in (ones[:2], ones):
            logits, weights, dtype = ones[:2].float(), ones[0], torch.float32
            kernel.add(logits, labels, weights, point, dtype=dtype, block_rows=1, total=total)
        total.cpu()
    except Exception:  # whatever it is, torch's way serves
        return None
    return kernel


@cache
def _library() -> "ctypes.CDLL | None":
    """What was built beside this file, if it was and can be loaded.

    In a clone that has moved on since, a build is of another `kernel.c`, whose calls may differ.
    """
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernel{suffix}")
        if path.exists():
            try:
                library = ctypes.CDLL(str(path))
            except OSError:  # built for another system
                return None
            return library if _is_current(library) else None
    return None


def _is_current(library: "ctypes.CDLL") -> bool:
    source = Path(__file__).with_name("kernel.c")
    if not source.exists():  # installed, and built with all the rest
        return True
    built = getattr(library, "source", None)
    return built is not None and ctypes.c_uint(built()).value == crc32(source.read_bytes())
