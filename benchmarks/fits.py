"""Whole fits to the same loss: ours, certified, beside general solvers over autograd.

    python benchmarks/fits.py --gap 1e-8 --repeat 7
    python benchmarks/fits.py --gap 1e-8 --repeat 7 --l2 5e-4 --center zero
    python benchmarks/fits.py --samples 115846 --classes 1000 --imbalance-ratio 256 --l2 0.01
    python benchmarks/fits.py --method temperature

A rival is stopped where F at its point, in float64, first comes within the gap of the least loss. A
run that is not counted finds the evaluation at which that is, so that looking costs a rival
nothing. One that ends by its own rule before is shown with how near it came.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch
from harness import as_written, output_option, ratio, repeat_option, report, side_by_side
from objectives import AutogradObjective, Contest
from rows import SyntheticRows, rows_options
from torch import Tensor

from marr_pipeline.rectify.fit import preset_settings

MAX_STEPS = 500
HISTORY = 20
ROUNDING = 1e-5
"""Relative error that a rival's own float32 values may have: worth a look in float64."""

Objective = Callable[[Tensor], tuple[float, Tensor]]


class Arrived(Exception):  # noqa: N818 - a way out of a rival's solver, not an error
    """The loss is within the gap."""


def torch_lbfgs(objective: Objective, start: Tensor) -> None:
    """`torch.optim.LBFGS` with its strong Wolfe line search, and no tolerance of its own."""
    theta = start.clone().requires_grad_()
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
        value, theta.grad = objective(theta)
        return value

    optimizer.step(closure)


def scipy_lbfgs(objective: Objective, start: Tensor) -> None:
    """SciPy's L-BFGS-B."""

    def function(theta: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        value, gradient = objective(torch.from_numpy(theta))
        return value, gradient.numpy()

    options = {
        "maxcor": HISTORY,
        "maxiter": MAX_STEPS,
        "maxfun": 2 * MAX_STEPS,
        "ftol": 0.0,
        "gtol": 0.0,
    }
    scipy.optimize.minimize(function, start.numpy(), jac=True, method="L-BFGS-B", options=options)


RIVALS = {
    "torch-float32": (torch_lbfgs, torch.float32),
    "torch-float64": (torch_lbfgs, torch.float64),
    "scipy-float64": (scipy_lbfgs, torch.float64),
}


class Race:
    """One rival's run on one contest.

    Args:
        contest: the objective.
        least: F at the certified minimum.
        name: in `RIVALS`.

    Attributes:
        excess: F - least, the smallest that was met.
        passes: evaluations until it arrived, or ended.
    """

    def __init__(self, contest: Contest, least: float, name: str) -> None:
        solver, dtype = RIVALS[name]
        self._solver, self._objective = solver, AutogradObjective(contest, dtype)
        self._problem, self._start = contest.problem(), contest.start()
        self._target, self._least = least + contest.gap, least
        self._arrival: int | None = None
        self.excess, self.passes = float("inf"), 0

    @property
    def has_arrived(self) -> bool:
        """Whether it came within the gap."""
        return self._least + self.excess <= self._target

    def __call__(self) -> None:
        """Run until it arrives or ends."""
        self.passes = 0
        with suppress(Arrived):
            self._solver(self._counted, self._start)
        self._arrival = self.passes

    def _counted(self, theta: Tensor) -> tuple[float, Tensor]:
        value, gradient = self._objective.value_and_gradient(theta)
        self.passes += 1
        if self._arrival is None:
            self._look(theta.detach().clone(), value)
        if self.has_arrived and self.passes >= (self._arrival or 0):
            raise Arrived
        return value, gradient

    def _look(self, theta: Tensor, value: float) -> None:
        if value <= self._target + ROUNDING * max(1.0, abs(self._target)):
            exact = self._problem.evaluate(theta, precise=True).value
            self.excess = min(self.excess, exact - self._least)


@click.command(help=as_written(__doc__))
@rows_options(samples=10_847, classes=100)
@click.option(
    "--method", type=click.Choice(("marr", "temperature", "vector-scaling")), default="marr"
)
@click.option("--preset", default="default", show_default=True)
@click.option("--l2", type=float, help="[default: the preset's]")
@click.option("--center", help="[default: the preset's]")
@click.option("--gap", default=1e-6, show_default=True)
@click.option("--rivals", default=",".join(RIVALS), show_default=True, help="Empty for none.")
@click.option("--device", default="cpu", show_default=True)
@repeat_option
@output_option
def main(
    rows: SyntheticRows,
    method: str,
    preset: str,
    l2: float | None,
    center: str | None,
    gap: float,
    rivals: str,
    device: str,
    repeat: int,
    output: Path | None,
) -> None:
    """Race them in turn."""
    given = {"l2": l2, "center": center}
    given = {name: value for name, value in given.items() if value is not None}
    settings = preset_settings(preset, method=method, **given)
    contest = Contest(rows.inputs(device=device), settings, gap)
    optimum = contest.fit("lbfgs", gap=0.01 * gap)
    assert optimum.loss is not None
    races = {name: Race(contest, optimum.loss, name) for name in filter(None, rivals.split(","))}
    measured = side_by_side(
        {
            "lbfgs": lambda: contest.fit("lbfgs"),
            "newton": lambda: contest.fit("newton"),
            "torch's passes": lambda: contest.fit("lbfgs", kernel="torch"),
            **races,
        },
        repeat=repeat,
        title=f"{method} on {rows.num_samples:,} x {rows.num_classes:,} to {gap:g}",
    )
    ours = {name: contest.fit(name) for name in ("lbfgs", "newton")}
    report(
        "fits",
        measured,
        ratios={
            f"{name} / lbfgs": ratio(measured[name], measured["lbfgs"])
            for name in ("torch's passes", *races)
        },
        output=output,
        rows=rows.record(),
        settings={"method": method, "preset": preset, "l2": settings.l2, "center": settings.center},
        gap=gap,
        passes={name: each.passes for name, each in (ours | races).items()},
        excess={name: race.excess for name, race in races.items()},
        gap_bound={name: each.gap_bound for name, each in ours.items()},
        status={name: each.status for name, each in ours.items()},
        least_loss=optimum.loss,
    )


if __name__ == "__main__":
    main()
