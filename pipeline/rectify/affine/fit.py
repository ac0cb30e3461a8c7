"""The fit of a method in the affine core: its problem, its ridge, its solver and what it yields."""

import math

import torch
from torch import Tensor

from marr_pipeline.optim import SOLVERS, Solution
from marr_pipeline.optim.result import FitStatus
from marr_pipeline.optim.sgd import refuse_partners
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.affine.family import AffineFamily
from marr_pipeline.rectify.affine.problem import AffineProblem
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.method import Family, FitContext, Outcome
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.ridge import Ridge
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.rows.sampling import Sampling, expected_weights
from marr_pipeline.rectify.scheduled_fit import follow_schedule
from marr_pipeline.rectify.settings import RectifySettings


def fit_affine(
    make_family: Family, inputs: FitInputs, settings: RectifySettings, context: FitContext
) -> Outcome:
    """Fit what a family allows; the rectifier is never shifted where there is a ridge.

    Raises:
        ConfigError: `sgd` in several processes, or no room in memory for one thread's buffers.
        FitError: the loss ran out of finite numbers.
    """
    if settings.optimizer == "sgd":
        refuse_partners(context.resources)
    problem = build_problem(
        inputs,
        settings,
        make_family(inputs.weight_norm),
        sampling=settings.sampling,
        resources=context.resources,
        progress=silent if settings.optimizer == "sgd" else context.progress,
    )
    solution = _solve(problem, inputs, settings, context)
    theta = solution.point.theta if settings.l2 > 0 else _centre_shift(problem, solution)
    scale, shift = problem.family.affine(theta)
    own = _own_numbers(problem.family, theta, inputs) if settings.method == "marr" else {}
    return Outcome(
        rectifier=Rectifier(scale=scale.clone(), shift=shift, own=own),
        status=solution.status,
        loss=solution.point.value,
        gradient_norm=solution.point.gradient_norm,
        gap_bound=solution.gap_bound,
        passes=solution.passes,
        num_parameters=problem.family.num_parameters,
        warnings=tuple(_fit_warnings(solution, scale, settings)),
    )


def build_problem(
    inputs: FitInputs,
    settings: RectifySettings,
    family: AffineFamily,
    *,
    sampling: Sampling = "instance",
    resources: Resources = UNLIMITED,
    progress: Progress = silent,
) -> AffineProblem:
    """F of the settings over all rows of the inputs.

    Args:
        inputs: the rows.
        settings: gamma, reduction, l2 and centre.
        family: what the method may choose.
        sampling: how rows are drawn, where F is what a batch has in expectation.
        resources: bound on memory, and the processes that share the rows.
        progress: told the passes.

    Raises:
        ConfigError: the bound on memory has no room for one thread's buffers.
    """
    weights, reduction = expected_weights(
        inputs, gamma=settings.gamma, reduction=settings.reduction, sampling=sampling
    )
    loss = WeightedCrossEntropy(*inputs.source(), weights, reduction=reduction, resources=resources)
    ridge = build_ridge(family, settings, inputs.log_prior)
    return AffineProblem(loss, family, ridge, progress=progress)


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


def starting_point(problem: AffineProblem, settings: RectifySettings) -> Tensor:
    """theta (P,) where a fit begins: logit adjustment if that is what it is pulled to."""
    is_adjusted = settings.center in ("logit-adjustment", "tempered")
    return problem.ridge.center if is_adjusted else problem.family.identity()


def _solve(
    problem: AffineProblem, inputs: FitInputs, settings: RectifySettings, context: FitContext
) -> Solution:
    if settings.optimizer != "sgd":
        start = starting_point(problem, settings)
        solution = SOLVERS[settings.optimizer](problem, start, settings.tolerance)
        context.tell_solved(solution)
        return solution
    return follow_schedule(
        problem,
        problem.family.identity(),
        batch_problem=build_problem(inputs, settings, problem.family),
        inputs=inputs,
        settings=settings,
        context=context,
    )


def _centre_shift(problem: AffineProblem, solution: Solution) -> Tensor:
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
