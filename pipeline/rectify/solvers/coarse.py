"""A start and a metric for L-BFGS from a few rows of each class.

Far from the minimum the exact loss is not needed, and near it the shape of the loss is: the
Hessian. Both are had cheaply from a thinned problem (`thinning`) of about 8 rows a class: L-BFGS on
it until its gradient has fallen to a hundredth, then its whole Hessian there. L-BFGS on all rows,
begun at that point with that Hessian as its first metric, took 9, 11 and 30 sweeps in place of 20,
42 and 204 (20,000 x 1000, weighted mean, l2 0.3, 0.01 and 1e-4, gap 1e-6; measured with 4 rows a
class). The Hessian at the first start would not do: there the softmax is saturated elsewhere, and
it took more passes than none.
"""

from pipeline.rectify.problem import Point, Problem
from pipeline.rectify.solvers.curvature import Metric, inverse_hessian

ROWS_PER_CLASS = 8
MIN_ROWS = 2000
"""Of the thinned problem: few classes can afford more rows of each."""
GROWTH = 4
"""Rows of a finer thinned problem over those of the one before."""
WORTH_FROM = 3
"""Thin only to a third of the rows or less; else the problem itself is taken."""
MAX_CLASSES = 4096
HESSIAN_BYTES = 4 * 32
"""Times K^2: the Hessian of 2K parameters, its factor, and what makes them."""


class Coarsening:
    """Thinned versions of a problem, from coarse to fine, and the metrics they give."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._rows_per_class = max(ROWS_PER_CLASS, -(-MIN_ROWS // problem.family.num_classes))
        self.problem = self._thinned()

    def _thinned(self) -> Problem:
        """The problem on a few rows of each class; itself where that would save little."""
        few = self._problem.thin(self._rows_per_class)
        is_small = WORTH_FROM * few.loss.num_rows <= self._problem.loss.num_rows
        return few if is_small else self._problem

    def metric(self, point: Point) -> Metric | None:
        """The inverse Hessian at a point; None where it costs more than it saves."""
        if not (point.is_finite and self._is_worth_it()):
            return None
        return inverse_hessian(self.problem, point.theta)

    def finer_metric(self, point: Point) -> Metric | None:
        """The metric of the next finer version, for a descent that is not getting there."""
        if self.problem is not self._problem:
            self._rows_per_class *= GROWTH
            self.problem = self._thinned()
        return self.metric(point)

    def _is_worth_it(self) -> bool:
        """Whether the metric costs less than the passes that it may save.

        The Hessian of M rows takes 6 M K^2 operations, some 50 a nanosecond; a pass over R rows
        about 1 ns a logit. Tens of passes are what a small ridge costs without the metric.
        """
        num_classes = self._problem.family.num_classes
        num_logits = self._problem.loss.num_rows * num_classes
        hessian = 6 * self.problem.loss.num_rows * num_classes**2 / 50
        memory = self._problem.loss.memory
        has_room = memory is None or HESSIAN_BYTES * num_classes**2 <= memory
        return has_room and num_classes <= MAX_CLASSES and hessian <= 50 * num_logits
