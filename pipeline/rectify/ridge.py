"""The ridge: where a fit is pulled to, how strongly, and the certificate that follows.

P parameters theta. Beside the usual ridge to a point,

    R(theta) = l2/2 |theta - center|^2,

there is one to a line through the origin, theta = s u. How far along it is a matter of s alone, for
which a ridge of its own stands:

    R(theta) = min_s  l2/2 |theta - s u|^2 + scale_l2/2 s^2.

For MARR with u = (1, logit adjustment's shifts) the line holds logit adjustment at every
temperature 1/s: classes are ranked as logit adjustment does unless the rows say otherwise (l2), and
logits are no more confident than the rows say (scale_l2), which memorised rows would be for ever.

R is a quadratic with the matrix M, whose inverse is I/l2 for a point and I/l2 + u u^T/scale_l2 for
the line (the covariance of a Gaussian around s u, with s Gaussian too). A convex loss plus R is
M-strongly convex, so at a point with gradient g

    F - F* <= g^T M^-1 g / 2,

which for a ridge to a point is |g|^2 / (2 l2).
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
        scale_l2: strength along the line, > 0; None for a ridge to a point.
    """

    l2: float
    center: Tensor
    scale_l2: float | None = None

    @property
    def is_none(self) -> bool:
        """Whether there is no ridge, and so perhaps no minimum."""
        return self.l2 == 0

    def value(self, theta: Tensor) -> Tensor:
        """R at theta (P,), a scalar; differentiable."""
        offset = theta - self._nearest(theta)
        value = 0.5 * self.l2 * (offset @ offset)
        if self.scale_l2 is None:
            return value
        return value + 0.5 * self.scale_l2 * self._scale(theta).square()

    def gradient(self, theta: Tensor) -> Tensor:
        """M (theta - center) (P,), for a line M theta."""
        return self.l2 * (theta - self._nearest(theta))

    def hessian_product(self, step: Tensor) -> Tensor:
        """M times a step (P,)."""
        return self.l2 * (step if self.scale_l2 is None else step - self._nearest(step))

    def hessian(self) -> Tensor:
        """M (P, P)."""
        matrix = self.l2 * torch.eye(len(self.center), dtype=torch.float64)
        if self.scale_l2 is None:
            return matrix
        share = self.l2**2 / (self.scale_l2 + self.l2 * float(self.center @ self.center))
        return matrix - share * torch.outer(self.center, self.center)

    def gap_bound(self, gradient: Tensor) -> float:
        """Upper bound on F - F* where F has this gradient (P,); infinite without a ridge."""
        if self.is_none:
            return float("inf")
        bound = float(gradient @ gradient) / (2 * self.l2)
        if self.scale_l2 is not None:
            bound += float(self.center @ gradient) ** 2 / (2 * self.scale_l2)
        return bound

    def _nearest(self, theta: Tensor) -> Tensor:
        """What theta is measured from: the point, or s u with the s that makes R least."""
        return self.center if self.scale_l2 is None else self._scale(theta) * self.center

    def _scale(self, theta: Tensor) -> Tensor:
        """s of theta, a scalar; only for a line."""
        assert self.scale_l2 is not None
        along = self.l2 * (self.center @ theta)
        return along / (self.scale_l2 + self.l2 * (self.center @ self.center))
