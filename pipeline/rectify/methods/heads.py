"""Methods that solve for a whole head on features; the old one is dropped.

cRT (Kang et al. 2020) fits it with every class counting alike. Decoupled Balanced Softmax (Ren et
al. 2020) minimises CE(W z + b + log n, y): the prior is there in training alone, and the head's own
logits are those of balanced classes. A class without images counts half an image
(`inputs.log_prior`), since log 0 would forbid it: every row pushes its logit down, and the ridge
alone holds it back.

By default both give the minimum, from a head of zeros, on which it does not depend. `official`
follows the released codes' SGD from a fresh head as torch's `Linear` draws it, weight and bias
uniform within 1 / sqrt(D): for cRT over class-balanced samples, four images a class draw, for the
other over samples as they come. The schedules are stated for some datasets alone (`schedule`); that
of cRT on CIFAR, of which Kang et al. have none, is that of the decoupled Balanced Softmax.
"""

import math
from functools import partial

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError
from marr_pipeline.rectify.head import HeadProblem, build_head_problem
from marr_pipeline.rectify.head.solve import minimize_head
from marr_pipeline.rectify.inputs import FitContext, FitInputs, log_prior
from marr_pipeline.rectify.method import FitResult, Method
from marr_pipeline.rectify.rectifier import HeadRectifier
from marr_pipeline.rectify.schedule import minimize_or_follow
from marr_pipeline.rectify.settings import (
    CLASS_BALANCED,
    CLASS_BALANCED_SAMPLING,
    RectifySettings,
)


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
    if settings.center != "zero":
        raise ConfigError(
            f"center: zero expected for {settings.method}, which starts from no head, got "
            f"{settings.center}; leave center out"
        )

    def fresh(problem: HeadProblem) -> Tensor:
        num_classes, width = problem.shape
        return initial_head(num_classes, width - 1, seed=settings.seed)

    problem, solution = minimize_or_follow(
        partial(build_head_problem, inputs, settings, offset=offset),
        partial(minimize_head, tolerance=settings.tolerance, optimizer=settings.optimizer),
        fresh,
        inputs=inputs,
        settings=settings,
        context=context,
    )
    theta = solution.theta
    head = problem.head(theta if settings.l2 > 0 else problem.centred(theta))
    rectifier = HeadRectifier(
        scale=torch.ones(len(head), dtype=torch.float64),
        shift=torch.zeros(len(head), dtype=torch.float64),
        weight=head[:, :-1].clone(),
        bias=head[:, -1].clone(),
        normalise="unit" if settings.normalise == "unit" else "none",
    )
    return FitResult.of(solution, rectifier, settings)


def initial_head(num_classes: int, num_features: int, *, seed: int) -> Tensor:
    """theta (P,) float64 of a fresh `Linear`: uniform within 1 / sqrt(D)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_classes, num_features + 1)
    uniform = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    return uniform.flatten() / math.sqrt(num_features)


def _fit_balanced_softmax(
    inputs: FitInputs, settings: RectifySettings, context: FitContext
) -> FitResult:
    return fit_head(inputs, settings, context, offset=log_prior(inputs.class_counts))


CRT = Method(
    fit=fit_head,
    needs=("features",),
    settings={**CLASS_BALANCED, "optimizer": "newton"},
    presets={"default": {}, "official": CLASS_BALANCED_SAMPLING},
)
BALANCED_SOFTMAX_HEAD = Method(
    fit=_fit_balanced_softmax,
    needs=("features",),
    settings={
        "optimizer": "newton",
        "gamma": 0.0,
        "reduction": "plain",
        "center": "zero",
        "l2": 5e-4,
    },
    presets={"default": {}, "official": {"optimizer": "sgd"}},
)
