"""The minimum of a whole head's F: begun where fewer rows have led, steered by `class_blocks`.

Far from the minimum any rows of each class show the way: thinned problems (`thinning`), each of
some times as many rows as the one before, lead there at a fraction of a pass a step. A head has too
many numbers for its Hessian to be factored. `newton` solves for a whole step by conjugate
gradients, a product with the Hessian costing about a pass and `class_blocks` saving most of them,
so that its length is one and the gradient falls by the accuracy of the solution. `lbfgs` takes
`class_blocks` themselves for its preconditioner and lets its pairs mend what they leave out.

CPU seconds on one core to gap 1e-6 at l2 5e-4, cRT / the head of Balanced Softmax, synthetic
features:

    rows x classes, features    newton       lbfgs
    10,847 x 100, 64            1.0 / 0.9    0.6 / 0.7
    10,847 x 100, 128           0.9 / 1.3    0.7 / 0.9
    30,000 x 300, 128           8.2 / 6.0    5.0 / 6.6
"""

from collections.abc import Iterator

from torch import Tensor

from marr_pipeline.optim.lbfgs import descend
from marr_pipeline.optim.newton import descend_newton
from marr_pipeline.optim.preconditioner import Preconditioner, conjugate_gradients
from marr_pipeline.optim.solvable import Point, Solution, conclude
from marr_pipeline.rectify.head.class_blocks import ClassBlocks
from marr_pipeline.rectify.head.problem import HeadProblem
from marr_pipeline.rectify.rows.thinning import is_worth_it, least_rows_per_class

GROWTH = 8
"""Rows of a class in a thinned problem over those in the one before."""
DROP = 0.05
"""Share of its first gradient at which a thinned problem is left."""
MARGIN = 0.9
"""float32 steps aim below the tolerance, so that float64 finds it met."""
ACCURACY, MAX_PRODUCTS = 0.2, 60
"""Of Newton's step: relative residual, and products spent on it at most."""
REFRESH = 12
"""Steps of L-BFGS after which the head has moved far enough for other blocks; doubled each time,
since near the minimum the pairs know more."""
MOST_NUMBERS = 2**26
"""Of a thinned problem's rows times classes or features, whichever are more, and of the blocks."""
NUMBER_BYTES = 32
"""What one of them takes, with what is made of it on the way."""


def minimize_head(problem: HeadProblem, tolerance: float, *, optimizer: str) -> Solution:
    """Minimise by `newton` or `lbfgs`, from the ridge's centre, until solved at `tolerance`."""
    descent = _descend_newton if optimizer == "newton" else _descend_lbfgs
    theta, steps, few = problem.ridge.center, 0, None
    for few in _thinned(problem):
        first = few.evaluate(theta, precise=False).gradient
        aim = max(few.tolerance_met(DROP * first), tolerance)
        point, more = descent(few, few, theta, aim, precise=False)
        theta, steps = point.theta if point.is_finite else theta, steps + more
    if few is None:
        few = problem.thin(_most_rows_per_class(problem))
    for precise, aim in ((False, MARGIN * tolerance), (True, tolerance)):
        point, more = descent(problem, few, theta, aim, precise=precise)
        theta, steps = point.theta, steps + more
    return conclude(problem, point, tolerance=tolerance, steps=steps)


def _descend_newton(
    problem: HeadProblem, few: HeadProblem, start: Tensor, tolerance: float, *, precise: bool
) -> tuple[Point, int]:
    def newton_step(point: Point) -> Tensor:
        return conjugate_gradients(
            problem.hessian_operator(point.theta),
            -point.gradient,
            accuracy=ACCURACY,
            max_products=MAX_PRODUCTS,
            least_curvature=0.5 * problem.ridge.l2,
            precondition=class_preconditioner(problem, few, point.theta),
        )

    return descend_newton(problem, start, tolerance, newton_step=newton_step, precise=precise)


def _descend_lbfgs(
    problem: HeadProblem, few: HeadProblem, start: Tensor, tolerance: float, *, precise: bool
) -> tuple[Point, int]:
    return descend(
        problem,
        start,
        tolerance,
        precise=precise,
        preconditioner=class_preconditioner(problem, few, start),
        renewal=_BlockRenewal(problem, few),
    )


class _BlockRenewal:
    """Other class blocks as the head moves: an `lbfgs.Renewal`."""

    def __init__(self, problem: HeadProblem, few: HeadProblem) -> None:
        self.refresh = REFRESH
        self._problem, self._few = problem, few

    def finer(self, point: Point) -> Preconditioner:
        """The blocks at this point."""
        self.refresh *= 2
        return class_preconditioner(self._problem, self._few, point.theta)


def class_preconditioner(problem: HeadProblem, few: HeadProblem, theta: Tensor) -> Preconditioner:
    """The inverse of `class_blocks` at theta (P,), from one pass over a thinned problem's rows."""
    few.count_pass()
    blocks = ClassBlocks(
        *few.loss.curvature(few.head(theta)),
        l2=problem.ridge.l2,
        most_numbers=_most_numbers(problem),
    )
    return lambda gradient: blocks.solve(problem.head(gradient)).flatten()


def _thinned(problem: HeadProblem) -> Iterator[HeadProblem]:
    """The problem on few rows of each class, then on more, as long as that saves much."""
    most = _most_rows_per_class(problem)
    rows_per_class = min(least_rows_per_class(problem.num_classes), most)
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
