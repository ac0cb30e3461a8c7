"""A start and a preconditioner for L-BFGS from a few rows of each class.

Far from the minimum the exact loss is not needed, and near it the shape of the loss is: the
Hessian. Both are had cheaply from a thinned problem of about 4 rows a class: L-BFGS on it until its
gradient has fallen to a hundredth, then its whole Hessian there. L-BFGS on all rows, begun at that
point with that Hessian as its first preconditioner, took 9, 11 and 30 sweeps in place of 20, 42 and
204 (20,000 x 1000, weighted mean, l2 0.3, 0.01 and 1e-4, gap 1e-6). The Hessian at the first start
would not do: there the softmax is saturated elsewhere, and it took more passes than none. Of 8 rows
a class it took longer than it saved: at 115,846 x 1000 the fit 1.5 processor seconds for 1.2 at l2
0.01, as long as with 4 at 1e-4.
"""

from typing import Generic

from torch import Tensor

from marr_pipeline.optim.lbfgs import descend, minimize
from marr_pipeline.optim.newton import inverse_hessian
from marr_pipeline.optim.solvable import Point, Preconditioner, Solution
from marr_pipeline.rectify.problem import CurvedProblem, Loss
from marr_pipeline.rectify.rows.thinning import is_worth_it, least_rows_per_class

ROWS_PER_CLASS = 4
"""In the smallest thinned problem."""
GROWTH = 4
"""Rows of a finer thinned problem over those of the one before."""
REFRESH = 12
"""Steps after which a preconditioner has shown that it does not fit, and a finer one is taken."""
DROP = 0.01
"""Share of the first gradient at which the thinned problem is left."""
MAX_WIDTH = 8192
"""Of the Hessian: 2K for K scales and K shifts."""
HESSIAN_BYTES = 32
"""Times the width squared: the Hessian, its factor, and what makes them."""


def minimize_lbfgs(
    problem: CurvedProblem[Loss], start: Tensor, tolerance: float, *, is_convex: bool = True
) -> Solution:
    """Minimise from `start` (P,); see `lbfgs.minimize` and `ThinnedApproximation`."""
    approximation = ThinnedApproximation(problem, is_convex=is_convex)
    return minimize(problem, start, tolerance, approximation=approximation)


class ThinnedApproximation(Generic[Loss]):
    """Thinned versions of a problem, from coarse to fine, and what they give L-BFGS.

    Args:
        problem: on all rows.
        is_convex: without, the point that the thinned problem led to is taken only if it lies
            lower than the start, so that the descent ends no higher than it began.
    """

    def __init__(self, problem: CurvedProblem[Loss], *, is_convex: bool = True) -> None:
        self.refresh = REFRESH
        self._problem = problem
        self._is_convex = is_convex
        self._rows_per_class = least_rows_per_class(problem.num_classes, ROWS_PER_CLASS)
        self.problem = self._thinned()

    def _thinned(self) -> CurvedProblem[Loss]:
        """The problem on a few rows of each class; itself where that would save little."""
        few = self._problem.thin(self._rows_per_class)
        return few if is_worth_it(few.num_rows, self._problem.num_rows) else self._problem

    def start(self, theta: Tensor, tolerance: float) -> tuple[Tensor, Preconditioner | None, int]:
        """See `lbfgs.Approximation`: the end of a rough descent on the thinned problem."""
        few = self.problem
        aim = few.tolerance_met(DROP * few.evaluate(theta, precise=False).gradient)
        point, steps = descend(few, theta, max(aim, tolerance), precise=False)
        is_taken = point.is_finite and (self._is_convex or self._is_lower(point.theta, theta))
        return point.theta if is_taken else theta, self.preconditioner(point), steps

    def _is_lower(self, theta: Tensor, other: Tensor) -> bool:
        """Whether F on all rows is lower at theta (P,) than at another point."""
        here, there = (self._problem.evaluate(each, precise=False) for each in (theta, other))
        return here.value < there.value

    def preconditioner(self, point: Point) -> Preconditioner | None:
        """The inverse Hessian at a point; None where it costs more than it saves."""
        if not (point.is_finite and self._is_worth_it()):
            return None
        return inverse_hessian(self.problem.hessian(point.theta))

    def finer(self, point: Point) -> Preconditioner | None:
        """That of the next finer version, for a descent that is not getting there."""
        if self.problem is not self._problem:
            self._rows_per_class *= GROWTH
            self.problem = self._thinned()
        return self.preconditioner(point)

    def _is_worth_it(self) -> bool:
        """Whether the preconditioner costs less than the passes that it may save.

        The Hessian of M rows and width H takes 1.5 M H^2 operations, some 50 a nanosecond; a pass
        over R rows about 1 ns a logit. Tens of passes are what a small ridge costs without it.
        """
        width, memory = self._problem.hessian_width, self._problem.memory
        num_logits = self._problem.num_rows * self._problem.num_classes
        hessian = 1.5 * self.problem.num_rows * width**2 / 50
        has_room = memory is None or HESSIAN_BYTES * width**2 <= memory
        return has_room and width <= MAX_WIDTH and hessian <= 50 * num_logits
