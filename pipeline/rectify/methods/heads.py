"""Methods that solve for a whole head on features; the old one is dropped.

One objective (`head.frame`) serves three names. `head` is the logit-adjusted loss (Menon et al.
2021) with a ridge to a centre; centre and strength are chosen on samples held out. With tau 0 it is
the plain probe. Decoupled Balanced Softmax (Ren et al. 2020) is that loss as its authors have it,
with a ridge to zero. cRT (Kang et al. 2020) sheds no prior and has every class count alike.

A strength is in units of the rows' mean square |x|^2, so that it means the same whatever the
features' scale: the released 5e-4 on a ResNet-32's own features, of mean square 50, is the default
1e-5 here; on features of length 1 it held decoupled Balanced Softmax at 35.0 % where 1e-5 has 60.4
(CIFAR-100-LT, features of an ImageNet network).

By default all give the minimum, on which no start has a say. `official` follows the released codes'
SGD from a fresh head as torch's `Linear` draws it, weight and bias uniform within 1 / sqrt(D), at
their own weight decay: for cRT over class-balanced samples, four images a class draw, for the other
over samples as they come. The schedules are stated for some datasets alone (`schedule`); that of
cRT on CIFAR, of which Kang et al. have none, is that of the decoupled Balanced Softmax.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.head import HeadProblem
from marr_pipeline.rectify.head.frame import HeadFrame, NoDirectionError, build_frame, left_out
from marr_pipeline.rectify.head.solve import minimize_head
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import FitResult, Method
from marr_pipeline.rectify.rectifier import HeadRectifier
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.schedule import minimize_or_follow
from marr_pipeline.rectify.settings import (
    CLASS_BALANCED,
    CLASS_BALANCED_SAMPLING,
    RectifySettings,
    Sampling,
)

PATH_TOLERANCE = 1e-3
"""On the gap bound of the fits that choose a strength."""


def fit_head(inputs: FitInputs, settings: RectifySettings, context: FitContext) -> FitResult:
    """Fit weight and bias.

    Args:
        inputs: with features.
        settings: what is minimised and how.
        context: what surrounds the fit.

    Raises:
        ConfigError: a centre that the method or the features cannot bear; `sgd` in several
            processes; or no room in memory for one thread's buffers.
        DataError: the inputs have no features, or a centre that tells no classes apart.
        FitError: the loss ran out of finite numbers.
    """
    if settings.optimizer == "sgd" and settings.method == "head":
        raise ConfigError(
            "optimizer: lbfgs or newton expected for head, of which no schedule is published, got "
            "sgd; leave it out"
        )
    frames: list[HeadFrame] = []

    def build(
        *,
        sampling: Sampling = "instance",
        resources: Resources = UNLIMITED,
        progress: Progress = silent,
    ) -> HeadProblem:
        frames.append(build_frame(inputs, settings, sampling=sampling, resources=resources))
        return frames[-1].problem(settings, progress)

    def fresh(problem: HeadProblem) -> Tensor:
        num_classes, width = problem.shape
        return initial_head(num_classes, width - 1, seed=settings.seed)

    problem, solution = minimize_or_follow(
        build,
        partial(minimize_head, tolerance=settings.tolerance, optimizer=settings.optimizer),
        fresh,
        inputs=inputs,
        settings=settings,
        context=context,
    )
    theta = solution.theta
    head = problem.head(theta if settings.ridge > 0 else problem.centred(theta))
    rectifier = frames[0].rectifier(head, settings)
    return FitResult.of(solution, rectifier, warnings=left_out(frames[0].counts))


def fit_path(
    inputs: FitInputs, points: Sequence[RectifySettings], rows: Tensor | None, resources: Resources
) -> Iterator[HeadRectifier]:
    """Fits of some rows (R,) int64, None for all, at one strength after another.

    Each begins where the one before has ended, so strong ridges come first; all other settings are
    those of the first point. A centre without a direction gives what zero gives: equals, of which
    tuning takes zero.
    """
    try:
        frame = build_frame(inputs, points[0], rows=rows, resources=resources)
    except NoDirectionError:
        zero = replace(points[0], center="zero")
        frame = build_frame(inputs, zero, rows=rows, resources=resources)
    theta = None
    for point in points:
        problem = frame.problem(point)
        optimizer = "lbfgs" if point.optimizer == "lbfgs" else "newton"
        theta = minimize_head(problem, PATH_TOLERANCE, optimizer=optimizer, start=theta).theta
        yield frame.rectifier(problem.head(theta), point)


def initial_head(num_classes: int, num_features: int, *, seed: int) -> Tensor:
    """theta (P,) float64 of a fresh `Linear`: uniform within 1 / sqrt(D)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_classes, num_features + 1)
    uniform = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    return uniform.flatten() / math.sqrt(num_features)


STRENGTH = 1e-5
"""Of a whole head's ridge, in units of the rows' mean square."""
OWN_SETTINGS = ("normalise", "free_bias")
PLAIN: dict[str, Any] = {
    "optimizer": "newton",
    "gamma": 0.0,
    "reduction": "plain",
    "center": "zero",
    "l2": STRENGTH,
}

HEAD = Method(
    fit=fit_head,
    path=fit_path,
    is_tuned=True,
    needs=("features",),
    own_settings=("tau", *OWN_SETTINGS, "shrinkage"),
    settings={**PLAIN, "normalise": "unit"},
)
CRT = Method(
    fit=fit_head,
    path=fit_path,
    needs=("features",),
    own_settings=OWN_SETTINGS,
    settings={**CLASS_BALANCED, "optimizer": "newton", "l2": STRENGTH},
    presets={"default": {}, "official": CLASS_BALANCED_SAMPLING},
)
BALANCED_SOFTMAX_HEAD = Method(
    fit=fit_head,
    path=fit_path,
    needs=("features",),
    own_settings=OWN_SETTINGS,
    settings=PLAIN,
    presets={"default": {}, "official": {"optimizer": "sgd", "l2": 5e-4}},
)
