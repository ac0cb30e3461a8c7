"""General solvers that others would minimise the same objective with, over autograd.

Each is given its usual settings and no tolerance of its own that could stop it early: the race
ends it.
"""

from importlib import import_module

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.bench.race import RivalSolver, WatchedObjective

HISTORY = 20
MAX_STEPS = 2000
DENSE_BFGS_PARAMETERS = 1000
"""Up to here probmetrics keeps the whole inverse Hessian, above it takes L-BFGS."""


def torch_lbfgs(objective: WatchedObjective, start: Tensor) -> Tensor:
    """`torch.optim.LBFGS` with its strong Wolfe line search."""
    theta = start.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [theta],
        max_iter=MAX_STEPS,
        max_eval=2 * MAX_STEPS,
        history_size=HISTORY,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        value, theta.grad = objective.value_and_gradient(theta)
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call] # torch has not typed it
    return theta.detach()


def scipy_lbfgs(objective: WatchedObjective, start: Tensor) -> Tensor:
    """SciPy's L-BFGS-B."""

    def function(theta: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        value, gradient = objective.value_and_gradient(torch.from_numpy(theta))
        return value, gradient.numpy()

    found = import_module("scipy.optimize").minimize(
        function,
        start.numpy(),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxcor": HISTORY,
            "maxiter": MAX_STEPS,
            "maxfun": 2 * MAX_STEPS,
            "ftol": 0.0,
            "gtol": 0.0,
        },
    )
    return torch.from_numpy(found.x)


def torchmin_bfgs(objective: WatchedObjective, start: Tensor) -> Tensor:
    """pytorch-minimize as probmetrics calls it: BFGS, or L-BFGS above 1,000 parameters."""
    method = "bfgs" if len(start) <= DENSE_BFGS_PARAMETERS else "l-bfgs"
    minimize = import_module("torchmin").minimize
    options = {"gtol": 0.0, "xtol": 0.0, "gtd_tol": 0.0}
    found = minimize(objective.value, start, method=method, max_iter=MAX_STEPS, options=options)
    theta = found.x
    assert isinstance(theta, Tensor)
    return theta.detach()


RIVALS: dict[str, RivalSolver] = {
    "torch-lbfgs": torch_lbfgs,
    "scipy-lbfgs": scipy_lbfgs,
    "torchmin": torchmin_bfgs,
}
"""By the name of their part."""

RIVAL_LIBRARIES = {
    "torch-lbfgs": "torch.optim",
    "scipy-lbfgs": "scipy.optimize",
    "torchmin": "torchmin",
}
"""What each needs installed; loaded before its clock runs."""
