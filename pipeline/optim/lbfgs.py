"""Limited-memory BFGS (Nocedal 1980; Liu and Nocedal 1989), made for passes that cost far more
than the P-vectors between them.

A first guess at the Hessian, and a start where one is cheap, come from an `Approximation`, such as
the same problem on a few of its rows. Steps are taken in float32 arithmetic first and end in
float64, which measures the certificate: usually one pass, more where float32 could not see the
descent any further.
"""

from collections import deque
from typing import Protocol

from torch import Tensor

from marr_pipeline.optim.search import ROUNDING, search_step
from marr_pipeline.optim.solvable import Point, Preconditioner, Solution, Solvable, conclude

MEMORY = 20
"""Pairs kept at most: of 2K numbers each in the affine core, never a burden."""
MEMORY_BYTES = 1024**3
"""Of the pairs, for a whole head of many classes and features."""
LEAST_MEMORY = 4
"""Pairs kept whatever they take."""
MAX_STEPS = 1000
PATIENCE = 20
"""Steps without a shorter gradient after which float32 arithmetic gives way to float64."""
MARGIN = 0.5
"""float32 steps aim below the tolerance, so that float64 finds it met."""


class Renewal(Protocol):
    """Where finer preconditioners come from.

    Attributes:
        refresh: steps after which a preconditioner is taken not to fit any more, and a finer one is
            asked for.
    """

    refresh: int

    def finer(self, point: Point) -> Preconditioner | None:
        """One that knows more of this point, for a descent that is not getting there."""


class Approximation(Renewal, Protocol):
    """What is cheaply known of a problem's shape."""

    def start(self, theta: Tensor, tolerance: float) -> tuple[Tensor, Preconditioner | None, int]:
        """A point (P,) to begin at in place of `theta`, the preconditioner there, and the steps."""


def minimize(
    problem: Solvable,
    start: Tensor,
    tolerance: float,
    *,
    approximation: Approximation | None = None,
) -> Solution:
    """Minimise from `start` (P,) until `problem.is_solved` at `tolerance`.

    Without an approximation the first steps have the identity for a preconditioner.
    """
    preconditioner, steps = None, 0
    if approximation is not None:
        start, preconditioner, steps = approximation.start(start, tolerance)
    for precise in (False, True):
        point, more = descend(
            problem,
            start,
            tolerance if precise else MARGIN * tolerance,
            precise=precise,
            preconditioner=preconditioner,
            renewal=None if preconditioner is None else approximation,
        )
        start, steps = point.theta, steps + more
    return conclude(problem, point, tolerance=tolerance, steps=steps)


def descend(
    problem: Solvable,
    start: Tensor,
    tolerance: float,
    *,
    precise: bool,
    preconditioner: Preconditioner | None = None,
    renewal: Renewal | None = None,
) -> tuple[Point, int]:
    """The last point of L-BFGS in one arithmetic, and its steps.

    `preconditioner` is renewed by `renewal` after its `refresh` steps, or when no step is
    found along what it and the pairs give.
    """

    def evaluate(theta: Tensor) -> Point:
        return problem.evaluate(theta, precise=precise)

    point = evaluate(start)
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=num_pairs(len(start)))
    shortest, idle = point.gradient_norm, 0  # gradient, and steps since it was reached
    age, is_stuck = 0, False  # steps since the preconditioner was taken; whether it led nowhere
    for step in range(MAX_STEPS):
        is_over = problem.is_solved(point, tolerance) or problem.has_no_minimum(point)
        if is_over or not point.is_finite:
            return point, step
        if idle > PATIENCE and not precise:
            return point, step
        if renewal is not None and (is_stuck or age >= renewal.refresh):
            preconditioner, age, is_stuck = renewal.finer(point), 0, False
            pairs.clear()
        direction = -_inverse_hessian_product(pairs, point.gradient, preconditioner)
        is_scaled = preconditioner is not None or bool(pairs)
        length = 1.0 if is_scaled else min(1.0, 1.0 / float(point.gradient.abs().sum()))
        reached = search_step(evaluate, point, direction, length=length, rounding=ROUNDING[precise])
        if reached is None and (not precise or (not pairs and (age == 0 or renewal is None))):
            return point, step
        if reached is None:
            is_stuck = True
            pairs.clear()
            continue
        change, gradient_change = reached.theta - point.theta, reached.gradient - point.gradient
        if float(change @ gradient_change) > 0:
            pairs.append((change, gradient_change))
        point, age, idle = reached, age + 1, idle + 1
        if point.gradient_norm < shortest:
            shortest, idle = point.gradient_norm, 0
    return point, MAX_STEPS


def num_pairs(num_parameters: int) -> int:
    """Pairs that are kept for P parameters, two float64 vectors each."""
    return min(MEMORY, max(LEAST_MEMORY, MEMORY_BYTES // (16 * num_parameters)))


def _inverse_hessian_product(
    pairs: deque[tuple[Tensor, Tensor]], gradient: Tensor, preconditioner: Preconditioner | None
) -> Tensor:
    """The two-loop recursion: the inverse Hessian that both describe, times a vector.

    Without a preconditioner the last pair's curvature scales the identity.
    """
    product = gradient.clone()
    weights: list[Tensor] = []
    for change, gradient_change in reversed(pairs):
        weight = (change @ product) / (change @ gradient_change)
        product.sub_(weight * gradient_change)
        weights.append(weight)
    if preconditioner is not None:
        product = preconditioner(product)
    elif pairs:
        change, gradient_change = pairs[-1]
        product.mul_((change @ gradient_change) / (gradient_change @ gradient_change))
    for (change, gradient_change), weight in zip(pairs, reversed(weights), strict=True):
        correction = (gradient_change @ product) / (change @ gradient_change)
        product.add_((weight - correction) * change)
    return product
