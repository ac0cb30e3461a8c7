"""What a solver sees of a fit: a point, and a function with a gradient at it.

P parameters theta.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Point:
    """A point and what one pass over the rows says of it.

    Attributes:
        theta: (P,) float64.
        value: F, with its ridge.
        gradient: (P,) float64, of F in the method's own parameters.
        largest_row_loss: see `objective.Evaluation`.
    """

    theta: Tensor
    value: float
    gradient: Tensor
    largest_row_loss: float

    @property
    def gradient_norm(self) -> float:
        """2-norm of the gradient."""
        return float(torch.linalg.vector_norm(self.gradient))

    @property
    def is_finite(self) -> bool:
        """Whether value and gradient are numbers."""
        return math.isfinite(self.value) and math.isfinite(self.gradient_norm)

    def describe(self, num_rows: int, gap_bound: float | None) -> str:
        """The pass over R rows in short: loss, and what it certifies."""
        met = "gradient" if gap_bound is None else "gap <="
        value = self.gradient_norm if gap_bound is None else gap_bound
        return f"{num_rows:,} rows, loss {self.value:.6f}, {met} {value:.1e}"


class Solvable(Protocol):
    """F over rows; counts its passes over them.

    Attributes:
        passes: sweeps over all rows so far.
    """

    passes: float

    @property
    def num_rows(self) -> int:
        """R."""

    def evaluate(self, theta: Tensor, *, precise: bool) -> Point:
        """F and its gradient at theta (P,): one pass. `precise` computes in float64 throughout."""

    def subset(self, rows: Tensor) -> "Solvable":
        """The same problem on some rows (B,) int64 alone, with a count of passes of its own."""

    def gap_bound(self, point: Point) -> float | None:
        """Upper bound on F - F*; None where there is none to give."""

    def is_solved(self, point: Point, tolerance: float) -> bool:
        """Whether gap bound (gradient norm where there is none) <= tolerance."""

    def has_no_minimum(self, point: Point) -> bool:
        """Whether what is known of this point proves that F has none; costs no pass."""

    def is_unbounded(self, point: Point) -> bool:
        """Whether this point proves that F has no minimum, in float64; may cost a pass."""


class Thinnable(Solvable, Protocol):
    """F whose shape a few of its rows show."""

    @property
    def num_classes(self) -> int:
        """K."""

    @property
    def hessian_width(self) -> int:
        """Of the matrix that `hessian` makes, on its way to (P, P)."""

    @property
    def memory(self) -> int | None:
        """The bound on buffers, in bytes."""

    def thin(self, rows_per_class: int) -> "Thinnable":
        """An estimate of F from at most that many rows of each class; see `thinning`."""

    def hessian(self, theta: Tensor) -> Tensor:
        """(P, P) float64 at theta (P,), or what stands for it and is positive semidefinite."""

    def tolerance_met(self, gradient: Tensor) -> float:
        """The tolerance that a gradient (P,) just meets."""
