"""Damped Newton: few steps, each with the whole Hessian or with Hessian-vector passes.

The Hessian costs about 3 K multiplications a logit where a pass costs about 50 operations, and
P^2 numbers; for one wider than `FULL_UP_TO` the step is found by conjugate gradients instead, one
pass a product (Newton-CG, Nocedal and Wright 2006, section 7.1).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from marr_pipeline.errors import FitError
from marr_pipeline.optim.search import ROUNDING, search_step
from marr_pipeline.optim.solvable import Curved, Point, Preconditioner, Solution, Solvable, conclude

FULL_UP_TO = 600
"""Width of the Hessian, two for each of K classes. At 10,847 x 100 it takes as long as 3 passes, at
115,846 x 1000 as about 38."""
FLATNESS = 1e-9
"""Added to the Hessian's diagonal, relative to its mean: without a ridge one direction is flat."""
MAX_STEPS = 100
MAX_PRODUCTS = 200
PATIENCE = 2
"""Steps in which neither loss nor gradient falls, after which float32 arithmetic gives way."""


def minimize_newton(problem: Curved, start: Tensor, tolerance: float) -> Solution:
    """Minimise from `start` (P,) until `problem.is_solved` at `tolerance`."""
    newton_step = _full_step if problem.hessian_width <= FULL_UP_TO else _conjugate_step
    point, steps = descend_newton(
        problem, start, tolerance, newton_step=partial(newton_step, problem), precise=True
    )
    return conclude(problem, point, tolerance=tolerance, steps=steps)


def descend_newton(
    problem: Solvable,
    start: Tensor,
    tolerance: float,
    *,
    newton_step: Callable[[Point], Tensor],
    precise: bool,
) -> tuple[Point, int]:
    """The last point of damped Newton in one arithmetic, and its steps.

    Args:
        problem: what is minimised.
        start: (P,).
        tolerance: at which the problem counts as solved.
        newton_step: -H^-1 g (P,) at a point, roughly.
        precise: float64 throughout; else it ends as well where float32 sees no more descent.
    """

    def evaluate(theta: Tensor) -> Point:
        return problem.evaluate(theta, precise=precise)

    point, idle = evaluate(start), 0
    for step in range(MAX_STEPS):
        is_over = problem.is_solved(point, tolerance) or problem.has_no_minimum(point)
        if is_over or not point.is_finite or (idle > PATIENCE and not precise):
            return point, step
        rounding = ROUNDING[precise]
        reached = search_step(evaluate, point, newton_step(point), length=1.0, rounding=rounding)
        if reached is None:
            return point, step
        falls = reached.value < point.value - rounding * abs(point.value)
        is_idle = not falls and reached.gradient_norm > 0.5 * point.gradient_norm
        point, idle = reached, idle + 1 if is_idle else 0
    return point, MAX_STEPS


def _full_step(problem: Curved, point: Point) -> Tensor:
    """-H^-1 g."""
    return -inverse_hessian(problem.hessian(point.theta))(point.gradient)


def _conjugate_step(problem: Curved, point: Point) -> Tensor:
    """-H^-1 g by conjugate gradients, to the accuracy that a superlinear rate needs."""
    return conjugate_gradients(
        lambda step: problem.hessian_product(point.theta, step),
        -point.gradient,
        accuracy=min(0.25, point.gradient_norm**0.5),
        max_products=MAX_PRODUCTS,
        least_curvature=FLATNESS * (problem.ridge.l2 + FLATNESS),
    )


def inverse_hessian(hessian: Tensor) -> Preconditioner:
    """H^-1 of H (P, P), damped as `cholesky_factor` has it."""
    factor = cholesky_factor(hessian)
    return lambda gradient: torch.cholesky_solve(gradient[:, None], factor)[:, 0]


def cholesky_factor(hessian: Tensor) -> Tensor:
    """Lower factor (P, P) of H; the damping grows until rounding leaves H positive definite.

    Raises:
        FitError: the Hessian overflows the float32 that it was computed in.
    """
    if not bool(hessian.sum().isfinite()):
        raise FitError(
            "fit: a finite Hessian expected, got an overflow in float32; "
            "scale these logits down, or give l2 a larger value"
        )
    damped = hessian.clone()
    damping = FLATNESS * float(hessian.diagonal().mean())
    while True:
        factor: Tensor
        torch.add(hessian.diagonal(), damping, out=damped.diagonal())
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not int(failed):
            return factor
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
