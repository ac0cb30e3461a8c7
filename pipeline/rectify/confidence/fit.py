"""The fit of DisAlign: where it starts, its problem, its solver and what it yields.

The released code's (1 + q a) x + q b is the paper's q (s x + b) + (1 - q) x with a = s - 1, so
theta holds s in both forms. Its weight decay pulls a to 0, which is a centre at s = 1; the paper's
pulls s to 0. The forms differ in their starts alone.

F is not convex. L-BFGS first finds the minimum over s and t with the confidence at its start, where
F is convex, then goes downhill from there in all parameters: the result is a stationary point no
higher than that minimum. From v = 0 and without a ridge that is MARR's, so DisAlign's loss ends no
higher than MARR's. Of four CIFAR caches both starts led to the same point on three; on the fourth,
CIFAR-100-LT memorised, F ended at 0.2806 from the paper's start, at 0.2838 from the other.
"""

import math

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError
from marr_pipeline.optim.lbfgs import minimize
from marr_pipeline.optim.solvable import FitStatus, Solution
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.affine import AffineFamily, build_ridge
from marr_pipeline.rectify.confidence.loss import ConfidenceCrossEntropy
from marr_pipeline.rectify.confidence.problem import ConfidenceProblem
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.rectifier import ConfidenceRectifier
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.schedule import follow_schedule
from marr_pipeline.rectify.settings import RectifySettings, Sampling
from marr_pipeline.rectify.thinned import ThinnedApproximation, minimize_lbfgs

CVPODS_DIRECTION = 0.1
"""Every entry of v at the start of the released code."""


def fit_confidence(inputs: FitInputs, settings: RectifySettings, context: FitContext) -> FitResult:
    """Fit scale, shift and confidence.

    Raises:
        ConfigError: `newton`, which needs a convex loss; `sgd` in several processes; or no room
            in memory for one thread's buffers.
        DataError: the inputs have no features.
        FitError: the loss ran out of finite numbers.
    """
    if settings.optimizer == "newton":
        raise ConfigError(
            "optimizer: lbfgs or sgd expected for disalign, got newton, whose steps need a convex "
            "loss; leave --optimizer out"
        )
    if settings.optimizer == "sgd":
        problem, solution = _run_sgd(inputs, settings, context)
    else:
        problem, solution = _minimize(inputs, settings, context)
    scale, shift, direction, bias = problem.loss.split(solution.theta)
    if settings.l2 == 0:
        shift = shift - shift.mean()
    return FitResult.of(
        solution,
        ConfidenceRectifier(
            scale=scale.clone(),
            shift=shift.clone(),
            confidence_weight=direction.clone(),
            confidence_bias=bias.clone(),
        ),
        warnings=_fit_warnings(solution, scale, settings),
    )


def confidence_start(settings: RectifySettings, *, num_classes: int, num_features: int) -> Tensor:
    """theta (P,) where the form of the settings begins.

    `paper`: the identity with every confidence 1/2. `cvpods`: s = 2, v = 0.1 everywhere and c as
    torch's `Linear` draws a bias, uniform within 1 / sqrt(D).
    """
    theta = torch.zeros(2 * num_classes + num_features + 1, dtype=torch.float64)
    theta[:num_classes] = 1.0
    if settings.form == "cvpods":
        generator = torch.Generator().manual_seed(settings.seed)
        uniform = 2 * torch.rand(1, generator=generator, dtype=torch.float64) - 1
        theta[:num_classes] = 2.0
        theta[2 * num_classes : -1] = CVPODS_DIRECTION
        theta[-1:] = uniform / math.sqrt(num_features)
    return theta


def build_confidence_problem(
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    sampling: Sampling = "instance",
    is_held: bool = False,
    resources: Resources = UNLIMITED,
    progress: Progress = silent,
) -> ConfidenceProblem:
    """F of the settings over all rows of the inputs.

    Args:
        inputs: with features.
        settings: gamma, reduction, l2 and centre.
        sampling: how rows are drawn, where F is what a batch has in expectation.
        is_held: whether v and c stay where they are.
        resources: bound on memory, and the processes that share the rows.
        progress: told the passes.

    Raises:
        ConfigError: the bound on memory has no room for one thread's buffers.
        DataError: the inputs have no features.
    """
    features = inputs.feature_rows(settings.method)
    logits, labels = inputs.source()
    weights, reduction = inputs.loss_weights(
        gamma=settings.gamma, reduction=settings.reduction, sampling=sampling
    )
    loss = ConfidenceCrossEntropy(
        logits,
        features,
        labels,
        weights,
        reduction=reduction,
        resources=resources,
    )
    ones = torch.ones(inputs.num_classes, dtype=torch.float64)
    affine = AffineFamily(num_classes=len(ones), scale="per-class", shift_unit=ones)
    ridge = build_ridge(affine, settings, inputs.log_prior)
    return ConfidenceProblem(loss, ridge, is_held=is_held, progress=progress)


def _minimize(
    inputs: FitInputs, settings: RectifySettings, context: FitContext
) -> tuple[ConfidenceProblem, Solution]:
    held = build_confidence_problem(
        inputs, settings, is_held=True, resources=context.resources, progress=context.progress
    )
    convex = minimize_lbfgs(held, _start(held, settings), settings.tolerance)
    problem = held.released()
    solution = minimize(
        problem,
        convex.theta,
        settings.tolerance,
        approximation=ThinnedApproximation(problem, is_convex=False),
    )
    return problem, solution


def _run_sgd(
    inputs: FitInputs, settings: RectifySettings, context: FitContext
) -> tuple[ConfidenceProblem, Solution]:
    drawn = build_confidence_problem(inputs, settings)
    problem = build_confidence_problem(inputs, settings, sampling=settings.sampling)
    solution = follow_schedule(
        problem,
        _start(problem, settings),
        batch_problem=drawn,
        inputs=inputs,
        settings=settings,
        context=context,
    )
    return problem, solution


def _start(problem: ConfidenceProblem, settings: RectifySettings) -> Tensor:
    loss = problem.loss
    return confidence_start(settings, num_classes=loss.num_classes, num_features=loss.num_features)


def _fit_warnings(solution: Solution, scale: Tensor, settings: RectifySettings) -> list[str]:
    found = []
    if solution.status is FitStatus.CONVERGED:
        found.append(
            "disalign's loss is not convex: this is a stationary point, a lower one may exist"
        )
    if solution.status is FitStatus.UNBOUNDED:
        found.append(
            "every row is on its own side, so without a ridge the loss falls for ever and the "
            "parameters mean nothing; give --l2 or fit other views"
        )
    if solution.status is FitStatus.STEP_LIMIT:
        found.append(
            f"stopped after {solution.steps} steps at a gradient of "
            f"{solution.gradient_norm:.1e}, above --tolerance {settings.tolerance:g}; raise "
            "--tolerance or --l2"
        )
    reversed_classes = int((scale < 0).sum())
    if reversed_classes:
        found.append(
            f"{reversed_classes} classes have a negative scale, which turns the ranking of their "
            "new logits around"
        )
    return found
