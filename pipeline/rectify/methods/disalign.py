"""DisAlign (Zhang et al. 2021): new logits mixed with the old by a confidence of each sample.

q (s * logits + b) + (1 - q) logits, with q = sigmoid(v . features + c): 2K + D + 1 numbers on the
same class-weighted loss as MARR's, with the exponent 1.2 that its paper calls rho. It contains MARR
(v = 0) and, unlike MARR, is neither convex nor can it be folded into a linear head.

What is left undetermined: without a ridge, adding one number to every b changes no probability
(reported with sum b = 0); where q is the same for all samples, only q (s - 1) and q b matter.

`default` solves the released code's objective, weighted mean and weight decay toward s = 1, b = 0,
v = 0, c = 0, from the paper's start. `paper` is the objective as its text has it, plain mean and
weight decay on s itself, which pulls the new logits to 0. `official` is the released code: its
start, its schedule, its weighted mean within each batch. Its (1 + q a) x + q b is the paper's form
with a = s - 1, so theta holds s in both forms; they differ in their starts alone.

L-BFGS first finds the minimum over s and b with the confidence at its start, where F is convex,
then goes downhill from there in all parameters: the result is a stationary point no higher than
that minimum. From v = 0 and without a ridge that is MARR's, so DisAlign's loss ends no higher than
MARR's. Of four CIFAR caches both starts led to the same point on three; on the fourth,
CIFAR-100-LT memorised, F ended at 0.2806 from the paper's start, at 0.2838 from the other.
"""

import math
from functools import partial

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError
from marr_pipeline.optim.solvable import FitStatus, Solution
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.affine import AffineFamily, build_ridge
from marr_pipeline.rectify.confidence import ConfidenceCrossEntropy, ConfidenceProblem
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import FitResult, Method
from marr_pipeline.rectify.rectifier import ConfidenceRectifier
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.schedule import minimize_or_follow
from marr_pipeline.rectify.settings import RectifySettings, Sampling
from marr_pipeline.rectify.strengths import with_strengths
from marr_pipeline.rectify.thinned import minimize_lbfgs

CVPODS_DIRECTION = 0.1
"""Every entry of v at the start of the released code."""
NO_CONFIDENCE = 0.01
"""A mean q below which nothing but the old logits is left."""
NUM_LOOKED_AT = 10_000
"""Rows that the mean is over."""


def fit_disalign(inputs: FitInputs, settings: RectifySettings, context: FitContext) -> FitResult:
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
            "loss; leave optimizer out"
        )
    problem, solution = minimize_or_follow(
        partial(build_confidence_problem, inputs, settings),
        partial(_minimize, settings=settings),
        partial(_start, settings=settings),
        inputs=inputs,
        settings=settings,
        context=context,
    )
    scale, shift, direction, bias = problem.loss.split(solution.theta)
    rectifier = ConfidenceRectifier(
        scale=scale.clone(),
        shift=shift - shift.mean() if settings.ridge == 0 else shift.clone(),
        confidence_weight=direction.clone(),
        confidence_bias=bias.clone(),
    )
    warnings = []
    if solution.status is FitStatus.CONVERGED:
        warnings.append(
            "disalign's loss is not convex: this is a stationary point, a lower one may exist"
        )
    features = inputs.feature_rows(settings.method)
    some = features[:: max(1, len(features) // NUM_LOOKED_AT)]
    if (mean := float(rectifier.raw_confidence(some).sigmoid().mean())) < NO_CONFIDENCE:
        warnings.append(
            f"disalign's confidence is {mean:.1g} on average, so that its logits are the old ones: "
            "a step of sgd took it to where its gradient vanishes; preset default has no such steps"
        )
    return FitResult.of(solution, rectifier, warnings=warnings)


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
    resources: Resources = UNLIMITED,
    progress: Progress = silent,
) -> ConfidenceProblem:
    """F of the settings over all rows of the inputs; see `affine.build_problem`.

    Raises:
        DataError: the inputs have no features.
    """
    features = inputs.feature_rows(settings.method)
    logits, labels = inputs.source()
    settings = with_strengths(inputs, settings, resources)
    weights, reduction = inputs.loss_weights(settings, sampling)
    loss = ConfidenceCrossEntropy(
        logits, features, labels, weights, reduction=reduction, resources=resources
    )
    ones = torch.ones(inputs.num_classes, dtype=torch.float64)
    affine = AffineFamily(num_classes=len(ones), scale="per-class", shift_unit=ones)
    return ConfidenceProblem(
        loss, build_ridge(affine, settings, inputs.log_prior), progress=progress
    )


def _minimize(problem: ConfidenceProblem, *, settings: RectifySettings) -> Solution:
    held = problem.with_confidence_held()
    convex = minimize_lbfgs(held, _start(problem, settings=settings), settings.tolerance)
    return minimize_lbfgs(problem, convex.theta, settings.tolerance, is_convex=False)


def _start(problem: ConfidenceProblem, *, settings: RectifySettings) -> Tensor:
    loss = problem.loss
    return confidence_start(settings, num_classes=loss.num_classes, num_features=loss.num_features)


DISALIGN = Method(
    fit=fit_disalign,
    needs=("logits", "features"),
    own_settings=("form",),
    settings={"gamma": 1.2, "center": "identity", "l2": 5e-4, "reduction": "weighted"},
    presets={
        "default": {},
        "paper": {"center": "zero", "reduction": "plain"},
        "official": {"form": "cvpods"},
    },
)
