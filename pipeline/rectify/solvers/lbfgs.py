"""Limited-memory BFGS (Nocedal 1980; Liu and Nocedal 1989), made for passes that cost far more
than the P-vectors between them.

It runs in float32 arithmetic first and ends in float64, which measures the certificate: usually
one pass, more where float32 could not see the descent any further.
"""

from collections import deque

from torch import Tensor

from pipeline.rectify.problem import Point, Problem
from pipeline.rectify.solvers.result import Solution, conclude
from pipeline.rectify.solvers.search import search_step

MEMORY = 20
"""Pairs kept. 2K numbers each, so never a burden."""
MAX_STEPS = 1000
ROUNDING = {False: 1e-7, True: 1e-13}
"""Relative error of F by `precise`."""
MARGIN = 0.5
"""float32 steps aim below the tolerance, so that float64 finds it met."""


def minimize_lbfgs(problem: Problem, start: Tensor, tolerance: float) -> Solution:
    """Minimise from `start` (P,) until `problem.is_solved` at `tolerance`."""
    point, steps = _descend(problem, start, MARGIN * tolerance, precise=False)
    point, more_steps = _descend(problem, point.theta, tolerance, precise=True)
    return conclude(problem, point, tolerance=tolerance, steps=steps + more_steps)


def _descend(
    problem: Problem, start: Tensor, tolerance: float, *, precise: bool
) -> tuple[Point, int]:
    """The last point of L-BFGS in one arithmetic, and its steps."""

    def evaluate(theta: Tensor) -> Point:
        return problem.evaluate(theta, precise=precise)

    point = evaluate(start)
    if not point.is_finite:
        return point, 0
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
    for step in range(MAX_STEPS):
        if problem.is_solved(point, tolerance) or problem.has_no_minimum(point):
            return point, step
        direction = -_inverse_hessian_product(pairs, point.gradient)
        length = 1.0 if pairs else min(1.0, 1.0 / float(point.gradient.abs().sum()))
        reached = search_step(evaluate, point, direction, length=length, rounding=ROUNDING[precise])
        if reached is None and pairs:
            pairs.clear()
            continue
        if reached is None:
            return point, step
        change, gradient_change = reached.theta - point.theta, reached.gradient - point.gradient
        if float(change @ gradient_change) > 0:
            pairs.append((change, gradient_change))
        point = reached
    return point, MAX_STEPS


def _inverse_hessian_product(pairs: deque[tuple[Tensor, Tensor]], gradient: Tensor) -> Tensor:
    """The two-loop recursion: the inverse Hessian that the pairs describe, times the gradient."""
    product = gradient.clone()
    weights: list[Tensor] = []
    for change, gradient_change in reversed(pairs):
        weight = (change @ product) / (change @ gradient_change)
        product.sub_(weight * gradient_change)
        weights.append(weight)
    if pairs:
        change, gradient_change = pairs[-1]
        product.mul_((change @ gradient_change) / (gradient_change @ gradient_change))
    for (change, gradient_change), weight in zip(pairs, reversed(weights), strict=True):
        correction = (gradient_change @ product) / (change @ gradient_change)
        product.add_((weight - correction) * change)
    return product
