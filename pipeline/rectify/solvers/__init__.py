"""Two ways to the minimum of a `Problem`; from outside they are alike."""

from collections.abc import Callable

from torch import Tensor

from pipeline.rectify.problem import Problem
from pipeline.rectify.solvers.coarse import minimize_lbfgs
from pipeline.rectify.solvers.newton import minimize_newton
from pipeline.rectify.solvers.result import Solution

__all__ = ["SOLVERS", "Solution", "Solver", "minimize_lbfgs", "minimize_newton"]

Solver = Callable[[Problem, Tensor, float], Solution]

SOLVERS: dict[str, Solver] = {"lbfgs": minimize_lbfgs, "newton": minimize_newton}
"""Deterministic solvers by name: (problem, start (P,), tolerance) -> Solution. `sgd` follows a
schedule instead of a tolerance and stands in `solvers.sgd`."""
