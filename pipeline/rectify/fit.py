"""From arrays and settings to a rectifier: phase two in one call."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.progress import Progress, silent
from pipeline.rectify.affine import AffineFamily
from pipeline.rectify.inputs import FitInputs
from pipeline.rectify.methods import METHODS
from pipeline.rectify.objective import WeightedCrossEntropy
from pipeline.rectify.problem import Problem
from pipeline.rectify.rectifier import Rectifier
from pipeline.rectify.resources import UNLIMITED, Resources
from pipeline.rectify.ridge import Ridge
from pipeline.rectify.schedule import phase_two_schedule
from pipeline.rectify.settings import RectifySettings
from pipeline.rectify.solvers import SOLVERS, Solution
from pipeline.rectify.solvers.result import FitStatus
from pipeline.rectify.solvers.sgd import run_sgd
from pipeline.rectify.weighting import class_weights


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A rectifier and how it came to be.

    Attributes:
        rectifier: at the solution, never shifted where there is a ridge.
        status: why the fit ended.
        loss: F with its ridge; None for a method in closed form, like the next two.
        gradient_norm: of F in the method's own parameters.
        gap_bound: upper bound on F - F*; None also without a ridge.
        passes: sweeps over all rows.
        seconds: from open logits to the solution.
        warnings: for results that stand but need a look.
    """

    rectifier: Rectifier
    status: FitStatus
    loss: float | None
    gradient_norm: float | None
    gap_bound: float | None
    passes: float
    seconds: float
    warnings: tuple[str, ...]


def fit_rectifier(
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    dataset: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    resources: Resources = UNLIMITED,
) -> Fit:
    """Fit one method to cached logits.

    Args:
        inputs: the rows and what is known of the head.
        settings: what is minimised and how.
        dataset: name, which decides the length of `sgd`'s schedule.
        metadata: stored in the rectifier beside the settings: fingerprints, versions.
        progress: told the passes over all rows, or the iterations of `sgd`.
        resources: bound on memory, and the processes that share the rows; all of them call this
            with the same inputs and settings and get the same fit.

    Raises:
        ConfigError: a setting that these inputs or resources cannot bear.
        FitError: the loss ran out of finite numbers.
    """
    begin = time.perf_counter()
    method = METHODS[settings.method]
    stored: dict[str, Any] = {**asdict(settings), **(metadata or {})}
    if method.closed_form is not None:
        scale, shift = method.closed_form(inputs.head, settings)
        seconds = time.perf_counter() - begin
        stored |= {"optimizer": None, "status": FitStatus.CLOSED_FORM, "seconds": seconds}
        return Fit(
            rectifier=Rectifier(scale=scale, shift=shift, metadata=stored),
            status=FitStatus.CLOSED_FORM,
            loss=None,
            gradient_norm=None,
            gap_bound=None,
            passes=0.0,
            seconds=seconds,
            warnings=tuple(inputs.warnings() + _closed_form_warnings(inputs, settings)),
        )
    assert method.family is not None
    if settings.optimizer == "sgd" and resources.ranks.size > 1:
        raise ConfigError(
            f"optimizer: lbfgs or newton expected in {resources.ranks.size} processes, got sgd, "
            "whose steps follow one another; start it without torchrun"
        )
    family = method.family(inputs.weight_norm)
    problem = build_problem(
        inputs,
        settings,
        family,
        resources=resources,
        progress=silent if settings.optimizer == "sgd" else progress,
    )
    solution = _solve(problem, inputs, settings, dataset=dataset, progress=progress)
    theta = solution.point.theta if settings.l2 > 0 else _centre_shift(problem, solution)
    scale, shift = problem.family.affine(theta)
    seconds = time.perf_counter() - begin
    outcome = {
        "status": solution.status,
        "loss": solution.point.value,
        "gradient_norm": solution.point.gradient_norm,
        "gap_bound": solution.gap_bound,
        "passes": solution.passes,
        "seconds": seconds,
    }
    own = _own_numbers(problem.family, theta, inputs) if settings.method == "marr" else {}
    rectifier = Rectifier(scale=scale.clone(), shift=shift, own=own, metadata=stored | outcome)
    return Fit(
        rectifier=rectifier,
        status=solution.status,
        loss=solution.point.value,
        gradient_norm=solution.point.gradient_norm,
        gap_bound=solution.gap_bound,
        passes=solution.passes,
        seconds=seconds,
        warnings=tuple(inputs.warnings() + _fit_warnings(solution, scale, settings)),
    )


def build_problem(
    inputs: FitInputs,
    settings: RectifySettings,
    family: AffineFamily,
    *,
    resources: Resources = UNLIMITED,
    progress: Progress = silent,
) -> Problem:
    """F of the settings over all rows of the inputs; `progress` is told its passes.

    Raises:
        ConfigError: the bound on memory has no room for one thread's buffers.
    """
    loss = WeightedCrossEntropy(
        *inputs.source(),
        class_weights(inputs.class_counts, settings.gamma),
        reduction=settings.reduction,
        resources=resources,
    )
    ridge = build_ridge(family, settings, inputs.log_prior)
    return Problem(loss, family, ridge, progress=progress)


def build_ridge(family: AffineFamily, settings: RectifySettings, log_prior: Tensor) -> Ridge:
    """The ridge of the settings, for the parameters theta (P,) of a family.

    It pulls to `zero` as weight decay does, to `identity`, the unrectified logits, to
    `logit-adjustment`, scale 1 and shift mean(log prior) - log prior, or to `tempered`, any
    multiple of that, which is logit adjustment at any temperature. The ridge on the multiple is
    counted in log K, the loss of a classifier that knows nothing. With l2 = 0 there is no ridge.
    """
    if settings.center == "zero":
        center = torch.zeros(family.num_parameters, dtype=torch.float64)
    elif settings.center == "identity":
        center = family.identity()
    else:
        center = family.parameters(1.0, log_prior.mean() - log_prior)
    scale_l2 = None
    if settings.center == "tempered" and settings.l2 > 0:
        scale_l2 = settings.scale_l2 * math.log(max(family.num_classes, 2))
    return Ridge(l2=settings.l2, center=center, scale_l2=scale_l2)


def starting_point(problem: Problem, settings: RectifySettings) -> Tensor:
    """theta (P,) where a fit begins: logit adjustment if that is what it is pulled to."""
    is_adjusted = settings.center in ("logit-adjustment", "tempered")
    return problem.ridge.center if is_adjusted else problem.family.identity()


def _solve(
    problem: Problem,
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    dataset: str | None,
    progress: Progress,
) -> Solution:
    if settings.optimizer != "sgd":
        start = starting_point(problem, settings)
        solution = SOLVERS[settings.optimizer](problem, start, settings.tolerance)
        num_passes = math.ceil(solution.passes)
        progress(num_passes, num_passes, f"loss {solution.point.value:.6f}")
        return solution
    return run_sgd(
        problem,
        problem.family.identity(),
        schedule=phase_two_schedule(settings.preset, dataset, len(inputs.labels)),
        num_views=inputs.num_views,
        seed=settings.seed,
        tolerance=settings.tolerance,
        progress=progress,
    )


def _centre_shift(problem: Problem, solution: Solution) -> Tensor:
    """theta in the gauge sum of shifts = 0: without a ridge the loss does not fix that sum."""
    theta, family = solution.point.theta, problem.family
    if family.shift_unit is None or not bool(family.free.all()):
        return theta
    _, shift = family.affine(theta)
    centred = theta.clone()
    centred[family.num_scales :] = (shift - shift.mean()) / family.shift_unit
    return centred


def _own_numbers(family: AffineFamily, theta: Tensor, inputs: FitInputs) -> dict[str, Tensor]:
    omega, beta = theta[: family.num_scales], theta[family.num_scales :]
    norm = inputs.weight_norm.double()
    return {"omega": omega.clone(), "beta": beta.clone(), "weight_norm": norm.clone()}


def _closed_form_warnings(inputs: FitInputs, settings: RectifySettings) -> list[str]:
    if settings.method == "tau-norm" and inputs.bias is None and not settings.keep_bias:
        return ["no bias is known of this head, so none is taken out of the logits"]
    return []


def _fit_warnings(solution: Solution, scale: Tensor, settings: RectifySettings) -> list[str]:
    found = []
    if solution.status is FitStatus.UNBOUNDED:
        found.append(
            "every row is on its own side, so without a ridge the loss falls for ever and the "
            "parameters mean nothing; give --l2 (the paper: 5e-4) or fit other views"
        )
    if solution.status is FitStatus.STEP_LIMIT:
        found.append(
            f"stopped after {solution.steps} steps above --tolerance {settings.tolerance:g}; "
            "raise --tolerance or --l2, or try --optimizer newton"
        )
    reversed_classes = int((scale < 0).sum())
    if reversed_classes:
        found.append(
            f"{reversed_classes} classes have a negative scale, which turns their ranking around"
        )
    return found
