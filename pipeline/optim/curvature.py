"""The inverse Hessian at a point, as something that can be applied to a gradient."""

from collections.abc import Callable

import torch
from torch import Tensor

from marr_pipeline.errors import FitError
from marr_pipeline.optim.solvable import Thinnable

Metric = Callable[[Tensor], Tensor]
"""An inverse Hessian, applied to a gradient (P,)."""

FLATNESS = 1e-9
"""Added to the Hessian's diagonal, relative to its mean: without a ridge one direction is flat."""


def inverse_hessian(problem: Thinnable, theta: Tensor) -> Metric:
    """H^-1 at theta (P,) by Cholesky; the damping grows until rounding leaves H positive definite.

    Raises:
        FitError: the Hessian overflows the float32 that it is computed in.
    """
    hessian = problem.hessian(theta)
    if not bool(torch.isfinite(hessian).all()):
        raise FitError(
            "fit: a finite Hessian expected, got an overflow in float32; "
            "scale these logits down, or give --l2 a larger value"
        )
    identity = torch.eye(len(hessian), dtype=hessian.dtype)
    damping = FLATNESS * float(hessian.diagonal().mean())
    while True:
        factor, failed = torch.linalg.cholesky_ex(hessian + damping * identity)
        if not int(failed):
            return lambda gradient: torch.cholesky_solve(gradient[:, None], factor)[:, 0]
        damping = max(10 * damping, 1e-300)
