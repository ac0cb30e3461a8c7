"""The inverse Hessian, or what stands for it, as something that can be applied to a gradient."""

from collections.abc import Callable

import torch
from torch import Tensor

from marr_pipeline.errors import FitError

Preconditioner = Callable[[Tensor], Tensor]
"""An inverse Hessian, applied to a gradient (P,)."""

FLATNESS = 1e-9
"""Added to the Hessian's diagonal, relative to its mean: without a ridge one direction is flat."""


def inverse_hessian(hessian: Tensor) -> Preconditioner:
    """H^-1 of H (P, P) by Cholesky; the damping grows until rounding leaves H positive definite.

    Raises:
        FitError: the Hessian overflows the float32 that it was computed in.
    """
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


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    *,
    accuracy: float,
    max_products: int,
    least_curvature: float,
    precondition: Preconditioner | None = None,
) -> Tensor:
    """x (P,) with |H x - b| <= accuracy |b|, or as near as `max_products` come.

    Args:
        product: H times a vector (P,), symmetric and positive semidefinite.
        right: b (P,).
        accuracy: relative residual to stop at.
        max_products: products spent at most.
        least_curvature: a direction v with v^T H v <= least_curvature |v|^2 counts as flat and
            ends the search.
        precondition: a rough H^-1, symmetric and positive definite; |r|^2 is then r^T of that r.

    Returns:
        x; b itself, preconditioned, where the first direction is flat.
    """
    solution, residual = torch.zeros_like(right), right.clone()
    downhill = residual if precondition is None else precondition(residual)
    search = downhill.clone()
    energy = float(residual @ downhill)
    target = accuracy**2 * energy
    for _ in range(max_products):
        if energy <= target:
            break
        image = product(search)
        curvature = float(search @ image)
        if curvature <= least_curvature * float(search @ search):
            break
        solution.add_(search, alpha=energy / curvature)
        residual.sub_(image, alpha=energy / curvature)
        downhill = residual if precondition is None else precondition(residual)
        previous, energy = energy, float(residual @ downhill)
        search = downhill + (energy / previous) * search
    return solution if bool(solution.any()) else downhill
