"""A metric for L-BFGS on a whole head: the Hessian of a few rows, inverted by conjugate gradients.

A head has too many numbers for its Hessian to be factored, but a product of it with a vector costs
little more than its share of the rows. The metric that L-BFGS asks for is then a rough solution of
H x = g over a sixteenth of the rows (`thinning`): steps become Newton's, and the pairs mend what
the few rows got wrong. On 173,552 rows of 100 classes and 64 features (weighted mean, l2 5e-4, gap
1e-6) it took 13 passes and products worth 23 more, in place of 178. Stand-ins for H that can be
factored did worse than none there: a scale for each class times the second moment of the features
took 260 passes, one block for each class 287 (both counted on an eighth of the rows, 183 without).
"""

from torch import Tensor

from pipeline.rectify.head_problem import HeadProblem
from pipeline.rectify.solvable import Point
from pipeline.rectify.solvers.conjugate import conjugate_gradients
from pipeline.rectify.solvers.curvature import Metric
from pipeline.rectify.solvers.lbfgs import descend

REFRESH = 4
"""Steps after which the head has moved far enough for another Hessian; doubled each time, since
near the minimum the pairs know what the few rows do not."""
DROP = 0.01
"""Share of the first gradient at which the few rows are left."""
SHARE = 16
"""All rows over those of the metric."""
LEAST_ROWS_PER_CLASS, LEAST_ROWS = 8, 2000
MOST_LOGITS = 2**26
"""Whose probabilities are kept, in float32."""
ACCURACY, MAX_PRODUCTS = 0.1, 30
"""Of the solution: relative residual, and what is spent on it at most."""


class HeadMetric:
    """The metric of the module's docstring, renewed as the fit goes: an `lbfgs.Approximation`."""

    def __init__(self, problem: HeadProblem) -> None:
        self.refresh = REFRESH
        self._problem = problem
        num_classes = problem.loss.num_classes
        least = max(LEAST_ROWS_PER_CLASS, LEAST_ROWS // num_classes)
        wanted = max(least, problem.num_rows // (SHARE * num_classes))
        self._few = problem.loss.thin(max(1, min(wanted, MOST_LOGITS // num_classes**2)))

    def start(self, theta: Tensor, tolerance: float) -> tuple[Tensor, Metric | None, int]:
        """See `lbfgs.Approximation`: the end of a rough descent on the few rows."""
        few = HeadProblem(self._few, l2=self._problem.ridge.l2)
        aim = few.tolerance_met(DROP * few.evaluate(theta, precise=False).gradient)
        point, steps = descend(few, theta, max(aim, tolerance), precise=False)
        self._problem.passes += few.passes * few.num_rows / self._problem.num_rows
        start = point.theta if point.is_finite else theta
        return start, self._metric(start), steps

    def finer_metric(self, point: Point) -> Metric | None:
        """The metric at this point."""
        self.refresh *= 2
        return self._metric(point.theta)

    def _metric(self, theta: Tensor) -> Metric:
        problem = self._problem
        of_rows = self._few.hessian(problem.head(theta))

        def product(step: Tensor) -> Tensor:
            problem.passes += self._few.num_rows / problem.num_rows
            return of_rows(problem.head(step)).flatten() + problem.ridge.hessian_product(step)

        return lambda gradient: conjugate_gradients(
            product,
            gradient,
            accuracy=ACCURACY,
            max_products=MAX_PRODUCTS,
            least_curvature=0.5 * problem.ridge.l2,
        )
