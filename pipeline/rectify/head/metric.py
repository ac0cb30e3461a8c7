"""L-BFGS for a whole head, with the Hessian of a few rows for its metric.

A product with the Hessian of an eighth of the rows (`thinning`) costs an eighth of a pass, so steps
become nearly Newton's, and the pairs mend what the few rows got wrong.
"""

import torch
from torch import Tensor

from marr_pipeline.optim.curvature import Metric
from marr_pipeline.optim.lbfgs import descend, minimize
from marr_pipeline.optim.result import Solution
from marr_pipeline.optim.solvable import Point
from marr_pipeline.rectify.head.curvature import inverse_hessian, most_rows_per_class
from marr_pipeline.rectify.head.problem import HeadProblem
from marr_pipeline.rectify.rows.thinning import least_rows_per_class

REFRESH = 4
"""Steps after which the head has moved far enough for another Hessian; doubled each time, since
near the minimum the pairs know what the few rows do not."""
DROP = 0.01
"""Share of the first gradient at which the few rows are left."""
SHARE = 8
"""All rows over those of the metric."""


def minimize_head_lbfgs(problem: HeadProblem, tolerance: float) -> Solution:
    """Minimise from a head of zeros until `problem.is_solved` at `tolerance`."""
    start = torch.zeros(problem.num_parameters, dtype=torch.float64)
    return minimize(problem, start, tolerance, approximation=HeadMetric(problem))


class HeadMetric:
    """The metric of the module's docstring, renewed as the fit goes: an `lbfgs.Approximation`."""

    def __init__(self, problem: HeadProblem) -> None:
        self.refresh = REFRESH
        self._problem = problem
        num_classes = problem.loss.num_classes
        wanted = max(least_rows_per_class(num_classes), problem.num_rows // (SHARE * num_classes))
        self._few = problem.thin(min(wanted, most_rows_per_class(problem)))

    def start(self, theta: Tensor, tolerance: float) -> tuple[Tensor, Metric | None, int]:
        """See `lbfgs.Approximation`: the end of a rough descent on the few rows."""
        few = self._few
        aim = few.tolerance_met(DROP * few.evaluate(theta, precise=False).gradient)
        point, steps = descend(few, theta, max(aim, tolerance), precise=False)
        start = point.theta if point.is_finite else theta
        return start, self._metric(start), steps

    def finer_metric(self, point: Point) -> Metric | None:
        """The metric at this point."""
        self.refresh *= 2
        return self._metric(point.theta)

    def _metric(self, theta: Tensor) -> Metric:
        return inverse_hessian(self._few, self._few, theta)
