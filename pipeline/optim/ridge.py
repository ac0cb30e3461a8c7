"""The ridge: where a fit is pulled to, how strongly, and the certificate that follows.

P parameters theta. Beside the usual ridge to a point,

    R(theta) = l2/2 |theta - center|^2,

there is one to a line, the points a + s u of vectors a and u:

    R(theta) = l2/2 |theta - a - s u|^2 + scale_l2/2 s^2,    s = u . (theta - a) / |u|^2.

For MARR with a = 0 and u = (1, logit adjustment's shifts) the line holds logit adjustment at every
temperature 1/s. What the classes' order may change is weighed by l2, how sure the classifier may be
by scale_l2, and neither touches the other: memorised rows would have s grow for ever.

R is a quadratic with a matrix M, so a convex loss plus R is M-strongly convex: at a point with
gradient g = along + across (along u and across it)

    F - F* <= g^T M^-1 g / 2 = |across|^2 / (2 l2) + |u|^2 |along|^2 / (2 scale_l2),

which for a ridge to a point is |g|^2 / (2 l2). Parameters may be left out of either; then M is
not positive definite, and there is no bound.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """R of the module's docstring.

    Attributes:
        l2: strength, >= 0; 0 for none.
        center: (P,) float64, the point, or u for a line.
        origin: (P,) float64, a of a line; None for 0.
        scale_l2: strength along the line, > 0; None for a ridge to a point.
        held: (P,) bool: False for parameters that R leaves out; their centre is 0. None for all.
    """

    l2: float
    center: Tensor
    scale_l2: float | None = None
    origin: Tensor | None = None
    held: Tensor | None = None

    @property
    def is_none(self) -> bool:
        """Whether there is no ridge, and so perhaps no minimum."""
        return self.l2 == 0

    @property
    def is_certain(self) -> bool:
        """Whether F - F* has a bound: R holds every parameter."""
        return not self.is_none and self.held is None

    @property
    def least_curvature(self) -> float:
        """The smallest eigenvalue of M."""
        if self.held is not None:
            return 0.0
        if self.scale_l2 is None:
            return self.l2
        return min(self.l2, self.scale_l2 / float(self._length_squared()))

    def value(self, theta: Tensor) -> Tensor:
        """R at theta (P,), a scalar; differentiable."""
        theta = self._held(self._from_origin(theta))
        if self.scale_l2 is None:
            return 0.5 * self.l2 * (theta - self.center).square().sum()
        scale, across = self._scale(theta), self.across(theta)
        return 0.5 * (self.l2 * across.square().sum() + self.scale_l2 * scale.square())

    def gradient(self, theta: Tensor) -> Tensor:
        """M (theta - center) (P,), for a line M (theta - origin)."""
        if self.scale_l2 is None:
            return self.hessian_product(theta - self.center)
        return self.hessian_product(self._from_origin(theta))

    def hessian_product(self, step: Tensor) -> Tensor:
        """M times a step (P,)."""
        step = self._held(step)
        if self.scale_l2 is None:
            return self.l2 * step
        along = self._scale(step) / self._length_squared() * self.center
        return self.l2 * self.across(step) + self.scale_l2 * along

    def add_hessian(self, hessian: Tensor) -> None:
        """Add M to a Hessian (P, P)."""
        assert self.held is None
        hessian.diagonal().add_(self.l2)
        if self.scale_l2 is not None:
            length = float(self._length_squared())
            extra = (self.scale_l2 / length - self.l2) / length
            hessian.addr_(self.center, self.center, alpha=extra)

    def gap_bound(self, gradient: Tensor) -> float:
        """Upper bound on F - F* where F has this gradient (P,); infinite where there is none."""
        if not self.is_certain:
            return float("inf")
        if self.scale_l2 is None:
            return float(gradient @ gradient) / (2 * self.l2)
        across, along = self.across(gradient), float(self.center @ gradient)
        return float(across @ across) / (2 * self.l2) + along**2 / (2 * self.scale_l2)

    def across(self, vector: Tensor) -> Tensor:
        """What of a vector (P,) is not along the line."""
        return vector - self._scale(vector) * self.center

    def _from_origin(self, theta: Tensor) -> Tensor:
        return theta if self.origin is None else theta - self.origin

    def _held(self, vector: Tensor) -> Tensor:
        return vector if self.held is None else torch.where(self.held, vector, 0.0)

    def _scale(self, vector: Tensor) -> Tensor:
        """s of a vector (P,), a scalar."""
        return self.center @ vector / self._length_squared()

    def _length_squared(self) -> Tensor:
        return self.center @ self.center
