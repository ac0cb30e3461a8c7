"""Damped Newton: few steps, each with the whole Hessian or with Hessian-vector passes.

The Hessian costs about 3 K multiplications a logit where a pass costs about 50 operations, and
P^2 numbers; above `FULL_UP_TO` classes the step is found by conjugate gradients instead, one pass
a product (Newton-CG, Nocedal and Wright 2006, section 7.1).
"""

from torch import Tensor

from pipeline.rectify.problem import Problem
from pipeline.rectify.solvable import Point
from pipeline.rectify.solvers.conjugate import conjugate_gradients
from pipeline.rectify.solvers.curvature import FLATNESS, inverse_hessian
from pipeline.rectify.solvers.result import Solution, conclude
from pipeline.rectify.solvers.search import search_step

FULL_UP_TO = 300
"""Classes. At 10,847 x 100 a Hessian takes 3 passes, at 115,846 x 1000 about 38."""
MAX_STEPS = 100
MAX_PRODUCTS = 200
ROUNDING = 1e-13


def minimize_newton(problem: Problem, start: Tensor, tolerance: float) -> Solution:
    """Minimise from `start` (P,) until `problem.is_solved` at `tolerance`."""

    def evaluate(theta: Tensor) -> Point:
        return problem.evaluate(theta, precise=True)

    newton_step = _full_step if problem.family.num_classes <= FULL_UP_TO else _conjugate_step
    point = evaluate(start)
    if not point.is_finite:
        return conclude(problem, point, tolerance=tolerance, steps=0)
    for step in range(MAX_STEPS):
        if problem.is_solved(point, tolerance) or problem.has_no_minimum(point):
            return conclude(problem, point, tolerance=tolerance, steps=step)
        direction = newton_step(problem, point)
        reached = search_step(evaluate, point, direction, length=1.0, rounding=ROUNDING)
        if reached is None:
            return conclude(problem, point, tolerance=tolerance, steps=step)
        point = reached
    return conclude(problem, point, tolerance=tolerance, steps=MAX_STEPS)


def _full_step(problem: Problem, point: Point) -> Tensor:
    """-H^-1 g."""
    return -inverse_hessian(problem, point.theta)(point.gradient)


def _conjugate_step(problem: Problem, point: Point) -> Tensor:
    """-H^-1 g by conjugate gradients, to the accuracy that a superlinear rate needs."""
    return conjugate_gradients(
        lambda step: problem.hessian_product(point.theta, step),
        -point.gradient,
        accuracy=min(0.25, point.gradient_norm**0.5),
        max_products=MAX_PRODUCTS,
        least_curvature=FLATNESS * (problem.ridge.l2 + FLATNESS),
    )
