"""Limited-memory BFGS (Nocedal 1980; Liu and Nocedal 1989), made for passes that cost far more
than the P-vectors between them.

A thinned problem gives the start and the first metric (`coarse`). Steps are taken in float32
arithmetic first and end in float64, which measures the certificate: usually one pass, more where
float32 could not see the descent any further.
"""

from collections import deque

from torch import Tensor

from pipeline.rectify.problem import Point, Problem
from pipeline.rectify.solvers.coarse import Coarsening
from pipeline.rectify.solvers.curvature import Metric
from pipeline.rectify.solvers.result import Solution, conclude
from pipeline.rectify.solvers.search import search_step

MEMORY = 20
"""Pairs kept. 2K numbers each, so never a burden."""
MAX_STEPS = 1000
REFRESH = 12
"""Steps after which a metric has shown that it does not fit, and a finer one is taken."""
PATIENCE = 20
"""Steps without a shorter gradient after which float32 arithmetic gives way to float64."""
DROP = 0.01
"""Share of the first gradient at which the thinned problem is left."""
ROUNDING = {False: 1e-7, True: 1e-13}
"""Relative error of F by `precise`."""
MARGIN = 0.5
"""float32 steps aim below the tolerance, so that float64 finds it met."""


def minimize_lbfgs(problem: Problem, start: Tensor, tolerance: float) -> Solution:
    """Minimise from `start` (P,) until `problem.is_solved` at `tolerance`."""
    coarse = Coarsening(problem)
    few = coarse.problem
    aim = few.tolerance_met(DROP * few.evaluate(start, precise=False).gradient)
    point, steps = _descend(few, start, max(aim, tolerance), precise=False)
    if few is not problem:
        problem.passes += few.passes * few.loss.num_rows / problem.loss.num_rows
    metric = coarse.metric(point)
    start = point.theta if point.is_finite else start
    for precise in (False, True):
        aim = tolerance if precise else MARGIN * tolerance
        point, more = _descend(
            problem, start, aim, precise=precise, metric=metric, coarse=coarse if metric else None
        )
        start, steps = point.theta, steps + more
    return conclude(problem, point, tolerance=tolerance, steps=steps)


def _descend(
    problem: Problem,
    start: Tensor,
    tolerance: float,
    *,
    precise: bool,
    metric: Metric | None = None,
    coarse: Coarsening | None = None,
) -> tuple[Point, int]:
    """The last point of L-BFGS in one arithmetic, and its steps.

    `metric` is renewed by `coarse` after `REFRESH` steps, or when no step is found along what it
    and the pairs give.
    """

    def evaluate(theta: Tensor) -> Point:
        return problem.evaluate(theta, precise=precise)

    point = evaluate(start)
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
    shortest, idle = point.gradient_norm, 0  # gradient, and steps since it was reached
    age = 0  # steps since the metric was taken
    for step in range(MAX_STEPS):
        is_over = problem.is_solved(point, tolerance) or problem.has_no_minimum(point)
        if is_over or not point.is_finite:
            return point, step
        if idle > PATIENCE and not precise:
            return point, step
        if age >= REFRESH and coarse is not None:
            metric, age = coarse.finer_metric(point), 0
            pairs.clear()
        direction = -_inverse_hessian_product(pairs, point.gradient, metric)
        is_scaled = metric is not None or bool(pairs)
        length = 1.0 if is_scaled else min(1.0, 1.0 / float(point.gradient.abs().sum()))
        reached = search_step(evaluate, point, direction, length=length, rounding=ROUNDING[precise])
        if reached is None and (not precise or (not pairs and (age == 0 or coarse is None))):
            return point, step
        if reached is None:
            age = REFRESH
            pairs.clear()
            continue
        change, gradient_change = reached.theta - point.theta, reached.gradient - point.gradient
        if float(change @ gradient_change) > 0:
            pairs.append((change, gradient_change))
        point, age, idle = reached, age + 1, idle + 1
        if point.gradient_norm < shortest:
            shortest, idle = point.gradient_norm, 0
    return point, MAX_STEPS


def _inverse_hessian_product(
    pairs: deque[tuple[Tensor, Tensor]], gradient: Tensor, metric: Metric | None
) -> Tensor:
    """The two-loop recursion: the inverse Hessian that metric and pairs describe, times a vector.

    Without a metric the last pair's curvature scales the identity.
    """
    product = gradient.clone()
    weights: list[Tensor] = []
    for change, gradient_change in reversed(pairs):
        weight = (change @ product) / (change @ gradient_change)
        product.sub_(weight * gradient_change)
        weights.append(weight)
    if metric is not None:
        product = metric(product)
    elif pairs:
        change, gradient_change = pairs[-1]
        product.mul_((change @ gradient_change) / (gradient_change @ gradient_change))
    for (change, gradient_change), weight in zip(pairs, reversed(weights), strict=True):
        correction = (gradient_change @ product) / (change @ gradient_change)
        product.add_((weight - correction) * change)
    return product
