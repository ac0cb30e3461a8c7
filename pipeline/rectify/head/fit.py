"""The fit of a whole head on features: its problem, its solver and what it yields.

The old head is dropped. `newton` and `lbfgs` start from a head of zeros, which the minimum does not
depend on; `sgd` from a fresh one, as torch's `Linear` draws it: weight and bias uniform within
1 / sqrt(D).
"""

import math

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError
from marr_pipeline.optim.solvable import FitStatus, Solution
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.head.loss import HeadCrossEntropy
from marr_pipeline.rectify.head.metric import minimize_head_lbfgs
from marr_pipeline.rectify.head.newton import minimize_head_newton
from marr_pipeline.rectify.head.problem import HeadProblem
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.rectifier import HeadRectifier
from marr_pipeline.rectify.ridge import Ridge
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.schedule import follow_schedule
from marr_pipeline.rectify.settings import RectifySettings, Sampling


def fit_head(
    inputs: FitInputs,
    settings: RectifySettings,
    context: FitContext,
    *,
    offset: Tensor | None = None,
) -> FitResult:
    """Fit weight and bias.

    Args:
        inputs: with features.
        settings: what is minimised and how.
        context: what surrounds the fit.
        offset: (K,) added to the logits in training; None for none.

    Raises:
        ConfigError: a centre other than zero; `sgd` in several processes; or no room in memory for
            one thread's buffers.
        DataError: the inputs have no features.
        FitError: the loss ran out of finite numbers.
    """
    _check(settings)
    if settings.optimizer == "sgd":
        problem, solution = _run_sgd(inputs, settings, context, offset)
    else:
        problem, solution = _minimize(inputs, settings, context, offset)
    theta = solution.theta
    head = problem.head(theta if settings.l2 > 0 else problem.centred(theta))
    return FitResult.of(
        solution,
        HeadRectifier(
            scale=torch.ones(len(head), dtype=torch.float64),
            shift=torch.zeros(len(head), dtype=torch.float64),
            weight=head[:, :-1].clone(),
            bias=head[:, -1].clone(),
        ),
        warnings=_fit_warnings(solution, settings),
    )


def build_head_problem(
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    offset: Tensor | None = None,
    sampling: Sampling = "instance",
    resources: Resources = UNLIMITED,
    progress: Progress = silent,
) -> HeadProblem:
    """F of the settings over all rows of the inputs.

    Args:
        inputs: with features.
        settings: gamma, reduction and l2.
        offset: (K,) added to the logits in training; None for none.
        sampling: how rows are drawn, where F is what a batch has in expectation.
        resources: bound on memory, and the processes that share the rows.
        progress: told the passes.

    Raises:
        ConfigError: the bound on memory has no room for one thread's buffers.
        DataError: the inputs have no features.
    """
    features = inputs.feature_rows(settings.method)
    weights, reduction = inputs.loss_weights(
        gamma=settings.gamma, reduction=settings.reduction, sampling=sampling
    )
    loss = HeadCrossEntropy(
        features,
        inputs.labels.repeat(inputs.num_views),
        weights,
        reduction=reduction,
        offset=offset,
        resources=resources,
    )
    ridge = Ridge(l2=settings.l2, center=torch.zeros((), dtype=torch.float64))
    return HeadProblem(loss, ridge, progress=progress)


def initial_head(num_classes: int, num_features: int, *, seed: int) -> Tensor:
    """theta (P,) float64 of a fresh `Linear`: uniform within 1 / sqrt(D)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_classes, num_features + 1)
    uniform = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    return uniform.flatten() / math.sqrt(num_features)


def _minimize(
    inputs: FitInputs, settings: RectifySettings, context: FitContext, offset: Tensor | None
) -> tuple[HeadProblem, Solution]:
    problem = build_head_problem(
        inputs, settings, offset=offset, resources=context.resources, progress=context.progress
    )
    solve = minimize_head_newton if settings.optimizer == "newton" else minimize_head_lbfgs
    return problem, solve(problem, settings.tolerance)


def _run_sgd(
    inputs: FitInputs, settings: RectifySettings, context: FitContext, offset: Tensor | None
) -> tuple[HeadProblem, Solution]:
    drawn = build_head_problem(inputs, settings, offset=offset)
    problem = build_head_problem(inputs, settings, offset=offset, sampling=settings.sampling)
    solution = follow_schedule(
        problem,
        initial_head(problem.loss.num_classes, problem.loss.num_features, seed=settings.seed),
        batch_problem=drawn,
        inputs=inputs,
        settings=settings,
        context=context,
    )
    return problem, solution


def _check(settings: RectifySettings) -> None:
    if settings.center != "zero":
        raise ConfigError(
            f"center: zero expected for {settings.method}, which starts from no head, got "
            f"{settings.center}; leave --center out"
        )


def _fit_warnings(solution: Solution, settings: RectifySettings) -> list[str]:
    if solution.status is FitStatus.UNBOUNDED:
        return [
            "every row is on its own side, so without a ridge the loss falls for ever and the "
            "head means nothing; give --l2 (released code: 5e-4) or fit other views"
        ]
    if solution.status is FitStatus.STEP_LIMIT:
        return [
            f"stopped after {solution.steps} steps above --tolerance {settings.tolerance:g}; "
            "raise --tolerance or --l2"
        ]
    return []
