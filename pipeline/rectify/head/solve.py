"""The minimum of a whole head's F: begun where fewer rows have led, steered by `ClassBlocks`.

Far from the minimum any rows of each class show the way: thinned problems (`thinning`), each of
some times as many rows as the one before, lead there at a fraction of a pass a step. A head has too
many numbers for its Hessian to be factored. `newton` solves for a whole step by conjugate
gradients, a product with the Hessian costing about a pass and `ClassBlocks` saving most of them,
so that its length is one and the gradient falls by the accuracy of the solution. `lbfgs` takes
`ClassBlocks` themselves for its preconditioner and lets its pairs mend what they leave out.

CPU seconds on one core to gap 1e-6 at l2 5e-4, cRT / the head of Balanced Softmax, synthetic
features:

    rows x classes, features    newton       lbfgs
    10,847 x 100, 64            1.0 / 0.9    0.6 / 0.7
    10,847 x 100, 128           0.9 / 1.3    0.7 / 0.9
    30,000 x 300, 128           8.2 / 6.0    5.0 / 6.6
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from marr_pipeline.optim.lbfgs import descend
from marr_pipeline.optim.newton import conjugate_gradients, descend_newton
from marr_pipeline.optim.solvable import Point, Preconditioner, Solution, conclude
from marr_pipeline.rectify.head import HeadProblem
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

ROWS_PER_CLASS = 64
"""M of `ClassBlocks` at most."""
FLATNESS = 1e-9
"""Added to each G_k, relative to the mean of the block's diagonal: without a ridge it may be 0."""
NONE = 1e-30
"""Curvature of rows that are all sure."""


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


class ClassBlocks:
    """A rough inverse of a whole head's Hessian, at one head: the block of each class on its own.

    D features with the bias's 1 among them, c_ik what row i adds to the curvature of class k. The
    Hessian's block of class k is B_k = sum_i c_ik z_i z_i^T + l2 I, D by D: too many to be kept.
    Few rows carry most of it, those the class is in doubt about; the M strongest are taken as they
    are, and the rest as one second moment that all classes share:

        B_k ~ A_k^T A_k + G_k,   A_k = sqrt(c_ik) z_i (M, D),   G_k = r_k E[z z^T] + l2 I,

    with r_k the curvature of the rest. In the basis of the moment G_k is diagonal, and by
    Woodbury's identity the inverse costs M vectors a class. On 23,185 rows of 1000 classes and 256
    features, near the minimum of Balanced Softmax's head, conjugate gradients had 99 % of a step's
    worth after four products; with the moment alone (M = 0) 88 %, with nothing 36 %.

    One vector added to every class changes no probability: there the blocks are steep and the
    Hessian is the ridge alone. So that direction is solved for on its own; without this some steps
    needed three times as many products.

    Args:
        features: (R, D) float32, with the bias's 1 among them.
        curvature: (R, K) float32, c.
        l2: strength of the ridge.
        most_numbers: of all A_k together; bounds M.
    """

    def __init__(
        self, features: Tensor, curvature: Tensor, *, l2: float, most_numbers: int
    ) -> None:
        self._l2 = l2
        num_classes, width = curvature.shape[1], features.shape[1]
        count = min(ROWS_PER_CLASS, len(features), max(1, most_numbers // (num_classes * width)))
        strongest, rows = curvature.topk(count, 0)
        of_class = curvature.sum(0, dtype=torch.float64)
        rest = (of_class - strongest.sum(0)).clamp(min=0)
        moment = ((features * curvature.sum(1, keepdim=True)).T @ features).double()
        moment /= of_class.sum().clamp(min=NONE)
        spread, self._basis = torch.linalg.eigh(moment)
        flat = l2 + (FLATNESS * of_class * spread.mean()).clamp(min=NONE)
        self._shared = rest[:, None] * spread.clamp(min=0) + flat[:, None]  # G_k, diagonal
        own = (features.double() @ self._basis)[rows.T]
        self._own = own * strongest.T.double().sqrt()[..., None]  # A_k
        scaled = self._own / self._shared[:, None]
        capacity = torch.eye(count, dtype=own.dtype, device=own.device).repeat(num_classes, 1, 1)
        capacity.baddbmm_(scaled, self._own.mT)
        self._factor = torch.linalg.cholesky(capacity)

    def solve(self, gradient: Tensor) -> Tensor:
        """The rough inverse times a gradient (K, D) float64 on the CPU."""
        common = gradient.mean(0)
        scaled = ((gradient - common).to(self._basis) @ self._basis) / self._shared
        of_rows = torch.cholesky_solve(self._own @ scaled[..., None], self._factor)
        scaled -= (self._own.mT @ of_rows)[..., 0] / self._shared
        step: Tensor = (scaled @ self._basis.T).cpu()
        step -= step.mean(0)
        if self._l2 > 0:
            step += common / self._l2
        return step


def class_preconditioner(problem: HeadProblem, few: HeadProblem, theta: Tensor) -> Preconditioner:
    """The inverse of `ClassBlocks` at theta (P,), from one pass over a thinned problem's rows."""
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
