"""Methods fitted in the affine core: what each may choose of scale and shift, and its fit."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from marr_pipeline.optim.newton import minimize_newton
from marr_pipeline.optim.solvable import Solution
from marr_pipeline.rectify.affine import (
    AffineFamily,
    AffineProblem,
    build_problem,
    starting_point,
)
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import Family, FitResult, Method
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.schedule import minimize_or_follow
from marr_pipeline.rectify.settings import (
    CALIBRATION,
    CLASS_BALANCED,
    CLASS_BALANCED_SAMPLING,
    RectifySettings,
)
from marr_pipeline.rectify.thinned import minimize_lbfgs

SOLVERS: dict[str, Callable[[AffineProblem, Tensor, float], Solution]] = {
    "lbfgs": minimize_lbfgs,
    "newton": minimize_newton,
}
"""Deterministic solvers by name: problem, start (P,) and tolerance to a solution. `sgd` follows a
schedule instead of a tolerance."""


def _temperature(weight_norm: Tensor) -> AffineFamily:
    """logits / T; the parameter is 1/T, in which the loss is convex (Guo et al. 2017)."""
    return AffineFamily(num_classes=len(weight_norm), scale="shared")


def _vector_scaling(weight_norm: Tensor) -> AffineFamily:
    """a * logits + c (Guo et al. 2017): MARR with every norm 1."""
    return AffineFamily(
        num_classes=len(weight_norm), scale="per-class", shift_unit=torch.ones_like(weight_norm)
    )


def _lws(weight_norm: Tensor) -> AffineFamily:
    """s * logits, the bias scaled with the rest (Kang et al. 2020, as its code has it)."""
    return AffineFamily(num_classes=len(weight_norm), scale="per-class")


def _marr(weight_norm: Tensor) -> AffineFamily:
    """omega * logits + beta * weight_norm (paper, equations 8 to 10)."""
    return AffineFamily(
        num_classes=len(weight_norm), scale="per-class", shift_unit=weight_norm.double()
    )


def fit_affine(
    make_family: Family, inputs: FitInputs, settings: RectifySettings, context: FitContext
) -> FitResult:
    """Fit what a family allows; the rectifier is never shifted where there is a ridge.

    Raises:
        ConfigError: `sgd` in several processes, or no room in memory for one thread's buffers.
        FitError: the loss ran out of finite numbers.
    """
    family = make_family(inputs.weight_norm)

    def minimize(problem: AffineProblem) -> Solution:
        start = starting_point(problem, settings)
        return SOLVERS[settings.optimizer](problem, start, settings.tolerance)

    _, solution = minimize_or_follow(
        partial(build_problem, inputs, settings, family),
        minimize,
        lambda problem: family.identity(),
        inputs=inputs,
        settings=settings,
        context=context,
    )
    theta = solution.theta if settings.l2 > 0 else _centre_shift(family, solution.theta)
    scale, shift = family.affine(theta)
    own = _own_numbers(family, theta, inputs) if settings.method == "marr" else {}
    return FitResult.of(
        solution,
        Rectifier(scale=scale.clone(), shift=shift, own=own),
        settings,
    )


def _centre_shift(family: AffineFamily, theta: Tensor) -> Tensor:
    """theta (P,) in the gauge sum of shifts = 0: without a ridge the loss does not fix that sum."""
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


def _method(family: Family, **presets: Mapping[str, Any]) -> Method:
    return Method(
        fit=partial(fit_affine, family), family=family, presets={"default": {}, **presets}
    )


TEMPERATURE = _method(_temperature, default=CALIBRATION, tempered={})
VECTOR_SCALING = _method(_vector_scaling, default=CALIBRATION, tempered={})
LWS = _method(_lws, paper=CLASS_BALANCED, official=CLASS_BALANCED_SAMPLING)
MARR = _method(_marr, paper={}, official={})
