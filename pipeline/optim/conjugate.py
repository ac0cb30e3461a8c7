"""Conjugate gradients: H x = b with nothing but products of H."""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    *,
    accuracy: float,
    max_products: int,
    least_curvature: float,
    precondition: Callable[[Tensor], Tensor] | None = None,
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
