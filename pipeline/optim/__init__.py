"""Two ways to the minimum of an `AffineProblem`; from outside they are alike."""

from collections.abc import Callable

from torch import Tensor

from marr_pipeline.optim.coarse import minimize_lbfgs
from marr_pipeline.optim.newton import minimize_newton
from marr_pipeline.optim.result import Solution
from marr_pipeline.rectify.affine.problem import AffineProblem

__all__ = ["SOLVERS", "Solution", "Solver", "minimize_lbfgs", "minimize_newton"]

Solver = Callable[[AffineProblem, Tensor, float], Solution]

SOLVERS: dict[str, Solver] = {"lbfgs": minimize_lbfgs, "newton": minimize_newton}
"""Deterministic solvers by name: (problem, start (P,), tolerance) -> Solution. `sgd` follows a
schedule instead of a tolerance and stands in `solvers.sgd`."""
