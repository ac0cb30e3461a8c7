"""Damped Newton: few steps, each with the whole Hessian or with Hessian-vector passes.

The Hessian costs about 3 K multiplications a logit where a pass costs about 50 operations, and
P^2 numbers; for one wider than `FULL_UP_TO` the step is found by conjugate gradients instead, one
pass a product (Newton-CG, Nocedal and Wright 2006, section 7.1).
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from marr_pipeline.optim.preconditioner import FLATNESS, conjugate_gradients, inverse_hessian
from marr_pipeline.optim.search import ROUNDING, search_step
from marr_pipeline.optim.solvable import Curved, Point, Solution, Solvable, conclude

FULL_UP_TO = 600
"""Width of the Hessian, two for each of K classes. At 10,847 x 100 it takes as long as 3 passes, at
115,846 x 1000 as about 38."""
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
        least_curvature=FLATNESS * (problem.ridge_strength + FLATNESS),
    )
