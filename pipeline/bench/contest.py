"""What is raced for: an objective over rows, its optimum, and the loss at which one has arrived.

`marr` is the objective asked for. Peers minimise unweighted ones and no weight norm, so there are
two more over the same rows:

    vector-scaling  plain mean, U = 1, w = 1, ridge 2 K / N to the identity, as `svs` has it
    temperature     plain mean, U = 1, one shared scale, no ridge
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.bench.autograd import AutogradObjective
from pipeline.bench.settings import BenchSettings
from pipeline.rectify.affine import AffineFamily
from pipeline.rectify.affine_fit import build_problem, starting_point
from pipeline.rectify.fit import Fit, fit_rectifier
from pipeline.rectify.inputs import FitInputs
from pipeline.rectify.methods import METHODS
from pipeline.rectify.problem import Problem
from pipeline.rectify.resources import UNLIMITED, Resources
from pipeline.rectify.settings import RectifySettings
from pipeline.rectify.solvers.result import FitStatus
from pipeline.rectify.weighting import class_weights

OPTIMUM_SHARE = 0.01
"""The optimum is sought to this share of the gap."""
OPTIMUM_GRADIENT = 1e-9
"""Without a ridge: the gradient's norm at the optimum. One parameter, so the gap is far below."""
UNRIDGED_TOLERANCE = 0.1
"""Without a ridge: our tolerance on the gradient's norm, times the root of the gap."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The least loss.

    Attributes:
        loss: F at our solution.
        gap_bound: on what is left of F - F* there; None without a ridge.
        target: F at or below which a fit has arrived.
    """

    loss: float
    gap_bound: float | None
    target: float


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One objective over one set of rows.

    Attributes:
        name: of the objective.
        inputs: the rows, on their device.
        settings: the objective, without optimizer and tolerance.
        gap: how near to the optimum a fit has to come.
    """

    name: str
    inputs: FitInputs
    settings: RectifySettings
    gap: float

    @property
    def family(self) -> AffineFamily:
        """What its parameters mean."""
        make_family = METHODS[self.settings.method].family
        assert make_family is not None
        return make_family(self.inputs.weight_norm)

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self.inputs.logits.device

    @property
    def tolerance(self) -> float:
        """Of our own fits: the gap bound, or a gradient small enough that the gap is met."""
        return self.gap if self.settings.l2 > 0 else UNRIDGED_TOLERANCE * self.gap**0.5

    def problem(self) -> Problem:
        """The objective as our solvers see it."""
        return build_problem(self.inputs, self.settings, self.family)

    def start(self, problem: Problem) -> Tensor:
        """theta (P,) where every fit starts."""
        return starting_point(problem, self.settings)

    def autograd(self, logits: Tensor) -> AutogradObjective:
        """The objective as torch would minimise it, over rows (R, K) in another dtype."""
        problem = self.problem()
        return AutogradObjective(
            logits,
            self.inputs.rows()[1],
            class_weights(self.inputs.class_counts, self.settings.gamma),
            problem.family,
            problem.ridge,
            reduction=self.settings.reduction,
        )

    def fit(self, optimizer: str, *, tolerance: float, resources: Resources = UNLIMITED) -> Fit:
        """One whole fit of ours."""
        settings = replace(self.settings, optimizer=optimizer, tolerance=tolerance)  # type: ignore[arg-type] # checked by RectifySettings
        return fit_rectifier(self.inputs, settings, resources=resources)

    def theta(self, scale: Tensor, shift: Tensor) -> Tensor:
        """theta (P,) of scale (K,) and shift (K,)."""
        family = self.family
        if family.scale != "per-class":
            return family.parameters(float(scale[0]), shift)
        theta = family.parameters(1.0, shift)
        theta[: family.num_scales] = scale
        return theta

    def optimum(self) -> Optimum | None:
        """The certified optimum; None if there is none or our solvers did not reach it."""
        has_ridge = self.settings.l2 > 0
        if has_ridge:
            found = self.fit("lbfgs", tolerance=OPTIMUM_SHARE * self.gap)
        else:
            found = self.fit("newton", tolerance=OPTIMUM_GRADIENT)
        if found.status is not FitStatus.CONVERGED or found.loss is None:
            return None
        return Optimum(loss=found.loss, gap_bound=found.gap_bound, target=found.loss + self.gap)

    def document(self) -> dict[str, Any]:
        """The objective's settings as JSON."""
        names = ("method", "gamma", "l2", "center", "reduction")
        return {name: getattr(self.settings, name) for name in names}


def marr_contest(inputs: FitInputs, settings: BenchSettings) -> Contest:
    """The objective that was asked for."""
    return Contest(
        name="marr",
        inputs=inputs,
        settings=RectifySettings(
            method="marr",
            preset="paper",
            gamma=settings.gamma,
            l2=settings.l2,
            center=settings.center,
            reduction=settings.reduction,
            seed=settings.seed,
        ),
        gap=settings.gap,
    )


def vector_scaling_contest(
    inputs: FitInputs, settings: BenchSettings, *, name: str = "vector-scaling"
) -> Contest:
    """Unweighted vector scaling: MARR with every weight norm 1."""
    views, samples, classes = inputs.logits.shape
    return Contest(
        name=name,
        inputs=replace(inputs, weight_norm=torch.ones(classes, dtype=torch.float64)),
        settings=RectifySettings(
            method="marr",
            gamma=0.0,
            l2=2 * classes / (views * samples),
            center="identity",
            reduction="plain",
        ),
        gap=settings.gap,
    )


def temperature_contest(inputs: FitInputs, settings: BenchSettings) -> Contest:
    """Temperature scaling by maximum likelihood."""
    return Contest(
        name="temperature",
        inputs=inputs,
        settings=RectifySettings(method="temperature", gamma=0.0, l2=0.0, reduction="plain"),
        gap=settings.gap,
    )
