"""What the ridge of a convex F certifies at a point."""

import torch
from torch import Tensor

from marr_pipeline.optim.solvable import Point
from marr_pipeline.rectify.ridge import Ridge


class Certified:
    """The tolerance of a convex F with a ridge, or of one without.

    Args:
        ridge: R, part of F.
    """

    def __init__(self, ridge: Ridge) -> None:
        self.ridge = ridge

    def gap_bound(self, point: Point) -> float | None:
        """Upper bound on F - F*; None without a ridge, where there is none to give."""
        return None if self.ridge.is_none else self.ridge.gap_bound(point.gradient)

    def is_solved(self, point: Point, tolerance: float) -> bool:
        """Whether gap bound (gradient norm without a ridge) <= tolerance."""
        return self.tolerance_met(point.gradient) <= tolerance

    def tolerance_met(self, gradient: Tensor) -> float:
        """The tolerance that a gradient (P,) just meets."""
        if self.ridge.is_none:
            return float(torch.linalg.vector_norm(gradient))
        return self.ridge.gap_bound(gradient)
