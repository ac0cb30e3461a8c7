"""The minimum of a whole head's F: begun where fewer rows have led, steered by the classes' blocks.

Far from the minimum any rows of each class show the way: thinned problems (`thinning`), each of
some times as many rows as the one before, lead there at a fraction of a pass a step. A head has too
many numbers for its Hessian to be factored. `newton` solves for a whole step by conjugate
gradients, so that its length is one and the gradient falls by the accuracy of the solution; a
product with the Hessian costs a pass or, in bfloat16, a quarter of one. `lbfgs` takes
`class_preconditioner` as it is and lets its pairs mend what that leaves out.

Between passes all is done by one thread, so that no bit depends on how many there are.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from marr_pipeline.optim.lbfgs import descend
from marr_pipeline.optim.newton import conjugate_gradients, descend_newton
from marr_pipeline.optim.solvable import Point, Preconditioner, Solution, conclude
from marr_pipeline.rectify.head import HeadProblem
from marr_pipeline.rectify.rows.resources import one_thread_an_operation
from marr_pipeline.rectify.rows.thinning import is_worth_it, least_rows_per_class

ROWS_PER_CLASS = 8
"""In the smallest thinned problem."""
GROWTH = 8
"""Rows of a class in a thinned problem over those in the one before."""
DROP = 0.05
"""Share of its first gradient at which a thinned problem is left."""
MARGIN = 0.9
"""float32 steps aim below the tolerance, so that float64 finds it met."""
ACCURACY, MAX_PRODUCTS = 0.3, 60
"""Of Newton's step: relative residual, and products spent on it at most."""
REFRESH = 12
"""Steps of L-BFGS after which the head has moved far enough for other blocks; doubled each time,
since near the minimum the pairs know more."""
MOST_NUMBERS = 2**26
"""Of a thinned problem's rows times classes or features, whichever are more."""
NUMBER_BYTES = 32
"""What one of them takes, with what is made of it on the way."""
FLATNESS = 1e-9
"""Added to each block, relative to the mean of its diagonal: without a ridge it may be 0."""
NONE = 1e-30
"""Curvature of rows that are all sure."""


def minimize_head(
    problem: HeadProblem, tolerance: float, *, optimizer: str, start: Tensor | None = None
) -> Solution:
    """Minimise by `newton` or `lbfgs` until solved at `tolerance`.

    From the ridge's centre, or from `start` (P,), the minimum at a strength nearby, in whose
    neighbourhood thinned problems know less.
    """
    with one_thread_an_operation():
        return _minimize(problem, tolerance, optimizer, start)


def _minimize(
    problem: HeadProblem, tolerance: float, optimizer: str, start: Tensor | None
) -> Solution:
    descent = _descend_newton if optimizer == "newton" else _descend_lbfgs
    theta = problem.ridge.center if start is None else start
    steps, few = 0, None
    for few in _thinned(problem) if start is None else ():
        first = few.evaluate(theta, precise=False).gradient
        aim = max(few.tolerance_met(DROP * first), tolerance)
        point, more = descent(few, _Blocks(problem, few), theta, aim, precise=False)
        theta, steps = point.theta if point.is_finite else theta, steps + more
    blocks = _Blocks(problem, few or problem.thin(_most_rows_per_class(problem)))
    for precise, aim in ((False, MARGIN * tolerance), (True, tolerance)):
        point, more = descent(problem, blocks, theta, aim, precise=precise)
        theta, steps = point.theta, steps + more
    return conclude(problem, point, tolerance=tolerance, steps=steps)


def _descend_newton(
    problem: HeadProblem, blocks: "_Blocks", start: Tensor, tolerance: float, *, precise: bool
) -> tuple[Point, int]:
    def newton_step(point: Point) -> Tensor:
        return conjugate_gradients(
            problem.hessian_operator(point.theta),
            -point.gradient,
            accuracy=ACCURACY,
            max_products=MAX_PRODUCTS,
            least_curvature=0.5 * problem.ridge.least_curvature,
            precondition=blocks.finer(point),
        )

    return descend_newton(problem, start, tolerance, newton_step=newton_step, precise=precise)


def _descend_lbfgs(
    problem: HeadProblem, blocks: "_Blocks", start: Tensor, tolerance: float, *, precise: bool
) -> tuple[Point, int]:
    blocks.refresh = REFRESH
    return descend(
        problem,
        start,
        tolerance,
        precise=precise,
        preconditioner=blocks.inverse(start),
        renewal=blocks,
    )


class _Blocks:
    """The inverse of the classes' blocks as the head moves: an `lbfgs.Renewal`.

    Args:
        whole: whose rows' moment the blocks share.
        few: whose rows tell each class's curvature.
    """

    def __init__(self, whole: HeadProblem, few: HeadProblem) -> None:
        self.refresh = REFRESH
        self._whole, self._few = whole, few

    def finer(self, point: Point) -> Preconditioner:
        """The inverse at this point."""
        self.refresh *= 2
        return self.inverse(point.theta)

    def inverse(self, theta: Tensor) -> Preconditioner:
        """The inverse at theta (P,), from one pass over the few rows."""
        self._few.count_pass()
        curvature = self._few.loss.curvature(self._few.head(theta))
        ridge = self._whole.ridge
        held = None if ridge.held is None else self._whole.head(ridge.held)[0]
        return class_preconditioner(*self._whole.loss.moment, curvature, l2=ridge.l2, held=held)


def class_preconditioner(
    spread: Tensor, basis: Tensor, curvature: Tensor, *, l2: float, held: Tensor | None = None
) -> Preconditioner:
    """A rough inverse of a whole head's Hessian: the block of each class on its own.

    D features with the bias's 1 among them, c_ik what row i adds to the curvature of class k. The
    Hessian's block of class k is B_k = sum_i c_ik z_i z_i^T + l2 I, D by D: too many to be kept.
    All classes share M, the second moment of the features, so that in its basis

        B_k ~ r_k M + l2 I,    r_k = sum_i c_ik,

    is diagonal. (Its own moment for each class, as the strongest 64 of the c_ik give it, saves
    four products with the Hessian in ten, and costs more than those: 64 vectors a class.)

    One vector added to every class changes no probability: there the blocks are steep and the
    Hessian is the ridge alone. So that direction is solved for on its own; without this there were
    up to twice as many products.

    Args:
        spread: (D,) eigenvalues of M.
        basis: (D, D) its eigenvectors, one a column.
        curvature: (K,) r.
        l2: strength of the ridge.
        held: (D,) bool, what the ridge holds; None for all. What all classes share of the rest
            changes nothing and stays.

    Returns:
        What takes a gradient (K D,) float64 on the CPU.
    """
    flat = l2 + (FLATNESS * curvature * spread.mean()).clamp(min=NONE)
    blocks = (curvature[:, None] * spread + flat[:, None]).float()
    basis = basis.float()

    def solve(gradient: Tensor) -> Tensor:
        head = gradient.view(len(blocks), -1)
        common = head.mean(0)
        scaled = ((head - common).to(basis) @ basis) / blocks
        step = (scaled @ basis.T).cpu().double()
        step -= step.mean(0)
        if l2 > 0:
            step += common / l2 if held is None else torch.where(held, common / l2, 0.0)
        return step.flatten()

    return solve


def _thinned(problem: HeadProblem) -> Iterator[HeadProblem]:
    """The problem on few rows of each class, then on more, as long as that saves much."""
    most = _most_rows_per_class(problem)
    rows_per_class = min(least_rows_per_class(problem.num_classes, ROWS_PER_CLASS), most)
    while rows_per_class <= most:
        few = problem.thin(rows_per_class)
        if not is_worth_it(few.num_rows, problem.num_rows):
            return
        yield few
        rows_per_class *= GROWTH


def _most_rows_per_class(problem: HeadProblem) -> int:
    """How many rows of each class a thinned problem may keep in memory, at least 1."""
    num_classes, width = problem.shape
    return max(1, _most_numbers(problem) // (num_classes * max(num_classes, width)))


def _most_numbers(problem: HeadProblem) -> int:
    memory = problem.memory
    return MOST_NUMBERS if memory is None else min(MOST_NUMBERS, memory // NUMBER_BYTES)
