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
) -> Tensor:
    """x (P,) with |H x - b| <= accuracy |b|, or as near as `max_products` come.

    Args:
        product: H times a vector (P,), symmetric and positive semidefinite.
        right: b (P,).
        accuracy: relative residual to stop at.
        max_products: products spent at most.
        least_curvature: a direction v with v^T H v <= least_curvature |v|^2 counts as flat and
            ends the search.

    Returns:
        x; b itself where the first direction is flat.
    """
    solution = torch.zeros_like(right)
    residual, search = right.clone(), right.clone()
    energy = float(right @ right)
    target = accuracy * energy**0.5
    for _ in range(max_products):
        image = product(search)
        curvature = float(search @ image)
        if curvature <= least_curvature * float(search @ search):
            break
        solution.add_(search, alpha=energy / curvature)
        residual.sub_(image, alpha=energy / curvature)
        previous, energy = energy, float(residual @ residual)
        if energy**0.5 <= target:
            break
        search = residual + (energy / previous) * search
    return solution if bool(solution.any()) else right.clone()
