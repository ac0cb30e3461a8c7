"""L-BFGS for a whole head, with the Hessian of a few rows for its preconditioner.

A product with the Hessian of an eighth of the rows (`thinning`) costs an eighth of a pass, so steps
become nearly Newton's, and the pairs mend what the few rows got wrong.
"""

import torch
from torch import Tensor

from marr_pipeline.optim.lbfgs import descend, minimize
from marr_pipeline.optim.preconditioner import Preconditioner
from marr_pipeline.optim.solvable import Point, Solution
from marr_pipeline.rectify.head.curvature import inverse_hessian, most_rows_per_class
from marr_pipeline.rectify.head.problem import HeadProblem
from marr_pipeline.rectify.rows.thinning import least_rows_per_class

REFRESH = 4
"""Steps after which the head has moved far enough for another Hessian; doubled each time, since
near the minimum the pairs know what the few rows do not."""
DROP = 0.01
"""Share of the first gradient at which the few rows are left."""
SHARE = 8
"""All rows over those of the preconditioner."""


def minimize_head_lbfgs(problem: HeadProblem, tolerance: float) -> Solution:
    """Minimise from a head of zeros until `problem.is_solved` at `tolerance`."""
    start = torch.zeros(problem.num_parameters, dtype=torch.float64)
    return minimize(problem, start, tolerance, approximation=HeadApproximation(problem))


class HeadApproximation:
    """What the module's docstring says, renewed as the fit goes: an `lbfgs.Approximation`."""

    def __init__(self, problem: HeadProblem) -> None:
        self.refresh = REFRESH
        self._problem = problem
        num_classes = problem.loss.num_classes
        wanted = max(least_rows_per_class(num_classes), problem.num_rows // (SHARE * num_classes))
        self._few = problem.thin(min(wanted, most_rows_per_class(problem)))

    def start(self, theta: Tensor, tolerance: float) -> tuple[Tensor, Preconditioner | None, int]:
        """See `lbfgs.Approximation`: the end of a rough descent on the few rows."""
        few = self._few
        aim = few.tolerance_met(DROP * few.evaluate(theta, precise=False).gradient)
        point, steps = descend(few, theta, max(aim, tolerance), precise=False)
        start = point.theta if point.is_finite else theta
        return start, self._preconditioner(start), steps

    def finer(self, point: Point) -> Preconditioner | None:
        """The preconditioner at this point."""
        self.refresh *= 2
        return self._preconditioner(point.theta)

    def _preconditioner(self, theta: Tensor) -> Preconditioner:
        return inverse_hessian(self._few, self._few, theta)
