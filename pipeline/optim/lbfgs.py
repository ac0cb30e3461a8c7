"""Limited-memory BFGS (Nocedal 1980; Liu and Nocedal 1989), made for passes that cost far more
than the P-vectors between them.

A first guess at the Hessian, and a start where one is cheap, come from an `Approximation`, such as
the same problem on a few of its rows. Steps are taken in float32 arithmetic first and end in
float64, which measures the certificate: usually one pass, more where float32 could not see the
descent any further.
"""

from typing import Protocol

import torch
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
    pairs = Pairs(len(start))
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
        direction = -pairs.inverse_hessian_product(point.gradient, preconditioner)
        is_scaled = preconditioner is not None or len(pairs) > 0
        length = 1.0 if is_scaled else min(1.0, 1.0 / float(point.gradient.abs().sum()))
        reached = search_step(evaluate, point, direction, length=length, rounding=ROUNDING[precise])
        if reached is None and (not precise or (len(pairs) == 0 and (age == 0 or renewal is None))):
            return point, step
        if reached is None:
            is_stuck = True
            pairs.clear()
            continue
        pairs.add(reached.theta - point.theta, reached.gradient - point.gradient)
        point, age, idle = reached, age + 1, idle + 1
        if point.gradient_norm < shortest:
            shortest, idle = point.gradient_norm, 0
    return point, MAX_STEPS


def num_pairs(num_parameters: int) -> int:
    """Pairs that are kept for P parameters, two float64 vectors each."""
    return min(MEMORY, max(LEAST_MEMORY, MEMORY_BYTES // (16 * num_parameters)))


class Pairs:
    """The last steps s and what they changed of the gradient y, and the inverse Hessian they tell.

    With the pairs in the rows of S and Y, (M, P) both, from old to new, R the upper triangle of
    S Y^T and D its diagonal, the two-loop recursion is, all pairs at once,

        R a = S g,   r = H0 (g - Y^T a),   R^T c = D a - Y r,   H g = r + S^T c:

    four products with matrices, where pair by pair every one of 4 M vectors costs a call.

    Args:
        num_parameters: P.
    """

    def __init__(self, num_parameters: int) -> None:
        most = num_pairs(num_parameters)
        self._steps, self._changes = torch.empty((2, most, num_parameters), dtype=torch.float64)
        self._products = torch.zeros((most, most), dtype=torch.float64)  # S Y^T
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Forget all."""
        self._count = 0

    def add(self, step: Tensor, change: Tensor) -> None:
        """Add a pair s and y (P,), in place of the oldest where as many as can be are kept.

        One that shows no curvature is left out.
        """
        if not float(step @ change) > 0:
            return
        if self._count == len(self._steps):
            for kept in (self._steps, self._changes, self._products, self._products.T):
                kept[:-1] = kept[1:].clone()
            self._count -= 1
        last, self._count = self._count, self._count + 1
        self._steps[last], self._changes[last] = step, change
        self._products[: self._count, last] = self._steps[: self._count] @ change

    def inverse_hessian_product(
        self, gradient: Tensor, preconditioner: Preconditioner | None
    ) -> Tensor:
        """H g (P,), H0 the preconditioner; without one the last pair's curvature scales 1."""
        if not self._count:
            return gradient.clone() if preconditioner is None else preconditioner(gradient)
        steps, changes = self._steps[: self._count], self._changes[: self._count]
        products = self._products[: self._count, : self._count]
        weights = torch.linalg.solve_triangular(products, (steps @ gradient)[:, None], upper=True)
        rest = torch.addmv(gradient, changes.T, weights[:, 0], alpha=-1)
        if preconditioner is not None:
            rest = preconditioner(rest)
        else:
            rest.mul_(products[-1, -1] / (changes[-1] @ changes[-1]))
        right = products.diagonal()[:, None] * weights - (changes @ rest)[:, None]
        weights = torch.linalg.solve_triangular(products.T, right, upper=False)
        return torch.addmv(rest, steps.T, weights[:, 0])
