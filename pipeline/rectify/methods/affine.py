"""Methods of K scales and K shifts: fitted in the affine core, or known from the head alone."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from marr_pipeline.optim.newton import minimize_newton
from marr_pipeline.optim.solvable import FitStatus, Solution
from marr_pipeline.rectify.affine import (
    AffineFamily,
    AffineProblem,
    Family,
    build_problem,
    starting_point,
)
from marr_pipeline.rectify.inputs import FitContext, FitInputs, HeadFacts, fitted_log_prior
from marr_pipeline.rectify.method import ClosedForm, FitResult, Method
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.schedule import minimize_or_follow
from marr_pipeline.rectify.settings import (
    CALIBRATION,
    CLASS_BALANCED,
    CLASS_BALANCED_SAMPLING,
    ON_HELD_OUT_ROWS,
    RectifySettings,
)
from marr_pipeline.rectify.strengths import with_strengths
from marr_pipeline.rectify.thinned import minimize_lbfgs

Warnings = Callable[[FitInputs, RectifySettings], tuple[str, ...]]

SOLVERS: dict[str, Callable[[AffineProblem, Tensor, float], Solution]] = {
    "lbfgs": minimize_lbfgs,
    "newton": minimize_newton,
}
"""Deterministic solvers by name: problem, start (P,) and tolerance to a solution. `sgd` follows a
schedule instead of a tolerance."""


def _family(
    scale: Literal["fixed", "shared", "per-class"], shift: Literal["one", "norm"] | None = None
) -> Family:
    """Scales of a kind; shifts in units of 1 or of the norm of a class's row, or none."""

    def of(weight_norm: Tensor) -> AffineFamily:
        unit = None if shift is None else weight_norm.double()
        if shift == "one":
            unit = torch.ones_like(weight_norm)
        return AffineFamily(num_classes=len(weight_norm), scale=scale, shift_unit=unit)

    return of


def fit_affine(
    make_family: Family, inputs: FitInputs, settings: RectifySettings, context: FitContext
) -> FitResult:
    """Fit what a family allows; the rectifier is never shifted where there is a ridge.

    Raises:
        ConfigError: `sgd` in several processes, or no room in memory for one thread's buffers.
        FitError: the loss ran out of finite numbers.
    """
    family = make_family(inputs.weight_norm)
    if not settings.scale_bias and inputs.bias is not None:
        family = replace(family, pivot=inputs.bias.double())

    def minimize(problem: AffineProblem) -> Solution:
        start = starting_point(problem, settings)
        return SOLVERS[settings.optimizer](problem, start, settings.tolerance)

    problem, solution = minimize_or_follow(
        partial(build_problem, inputs, settings, family),
        minimize,
        lambda problem: family.identity(),
        inputs=inputs,
        settings=settings,
        context=context,
    )
    theta = solution.theta if settings.ridge > 0 else _centre_shift(family, solution.theta)
    scale, shift = family.affine(theta)
    own = _own_numbers(family, theta, inputs) if settings.method == "marr" else {}
    rows = torch.bincount(inputs.labels, minlength=inputs.num_classes)
    unseen = ((rows == 0) & (inputs.prior_counts > 0)).nonzero()[:, 0].tolist()
    warnings = []
    if not settings.scale_bias and inputs.bias is None:
        warnings.append("no bias is known of this head, so all of a logit is scaled")
    if unseen and family.shift_unit is not None:
        warnings.append(
            f"{len(unseen)} of {inputs.num_classes} classes have no row to fit (first: "
            f"{unseen[0]}); nothing but a ridge says where their shifts are"
        )
    log_prior = _log_prior(problem, solution, inputs, settings)
    return FitResult.of(
        replace(solution, passes=problem.passes),
        Rectifier(scale=scale.clone(), shift=shift, own=own, log_prior=log_prior),
        warnings=warnings,
    )


def _centre_shift(family: AffineFamily, theta: Tensor) -> Tensor:
    """theta (P,) in the gauge sum of shifts = 0: without a ridge the loss does not fix that sum."""
    if family.shift_unit is None or not bool(family.free.all()):
        return theta
    _, shift = family.affine(theta)
    centred = theta.clone()
    centred[family.num_scales :] = (shift - shift.mean()) / family.shift_unit
    return centred


def _log_prior(
    problem: AffineProblem, solution: Solution, inputs: FitInputs, settings: RectifySettings
) -> Tensor | None:
    """The prior (K,) that the probabilities of a fit stand for; None where nothing says it.

    With s the classes' shares of the weighted rows and m the mean prediction over them, free
    shifts make m = s, and that is the prior. A ridge holds them back: m is then between s and the
    prior, and much nearer to it (where the posterior is known, m leaves a KL of 0.01 to 0.15, s up
    to 2). A pull to logit adjustment is taken at its word, the uniform prior, on rows that phase
    one has seen: m is no better where the posterior is known, and worse where the network has
    learned them by heart, whose labels m follows whatever the prior.

    One scale for all classes is no shift. It keeps the prior of the logits if its rows have that
    too; fitted on others it is another number (balanced rows for logits of a tail of 100: 0.45 in
    place of 1).
    """
    family = problem.family
    if solution.status is FitStatus.UNBOUNDED or not bool(family.free.all()):
        return None
    weights, _ = inputs.loss_weights(settings, settings.sampling)
    rows = torch.bincount(inputs.labels, minlength=inputs.num_classes)
    of_rows = fitted_log_prior(rows, weights)
    if family.shift_unit is None:
        is_kept = family.scale == "shared" and _are_one(inputs.log_prior, of_rows, rows)
        return inputs.log_prior if is_kept else None
    if settings.l2 == 0:
        return of_rows
    is_seen = (settings.rows or inputs.rows) == "seen"
    if is_seen and settings.center in ("logit-adjustment", "tempered"):
        return torch.zeros_like(of_rows).log_softmax(0)
    surplus = _shift_gradient(problem, solution)
    weighted = rows * weights
    unit = weighted.sum() / (rows.sum() if settings.reduction == "plain" else weighted.sum())
    mean = of_rows.exp() + torch.where(weighted > 0, surplus / unit, 0.0)
    if settings.center in ("logit-adjustment", "tempered"):
        # Of a class without rows nothing but the pull is known: it is as common as the mean class.
        present = weighted > 0
        share = float(present.sum()) / len(mean)
        mean = torch.where(present, share * mean / mean[present].sum(), 1 / len(mean))
    return mean.clamp(min=torch.finfo(mean.dtype).tiny).log().log_softmax(0)


def _shift_gradient(problem: AffineProblem, solution: Solution) -> Tensor:
    """The gradient of L in each class's shift (K,); all shifts are free.

    The solution's own tells it, but where one parameter makes all shifts: that takes a pass.
    """
    family, theta = problem.family, solution.theta
    if family.shares_shift or family.shift_unit is None or solution.gradient is None:
        problem.count_pass()
        return problem.loss.evaluate(*family.affine(theta), precise=True).gradient[1]
    gradient = solution.gradient - problem.ridge.gradient(theta)
    return gradient[family.num_scales :] / family.shift_unit


SAME_PRIOR = 0.05
"""Total variation of two priors, beyond what drawing the rows explains, that are taken for one: a
temperature is then right within a KL of 0.03 where the posterior is known."""


def _are_one(log_prior: Tensor, of_rows: Tensor, rows: Tensor) -> bool:
    """Whether rows (K,) may be drawn from a prior (K,)."""
    prior = log_prior.exp()
    by_chance = (2 / math.pi * prior * (1 - prior) / rows.sum()).sqrt()
    excess = (prior - of_rows.exp()).abs().sum() - by_chance.sum()
    return bool(0.5 * excess <= SAME_PRIOR)


def _own_numbers(family: AffineFamily, theta: Tensor, inputs: FitInputs) -> dict[str, Tensor]:
    omega, beta = theta[: family.num_scales], theta[family.num_scales :]
    norm = inputs.weight_norm.double()
    return {"omega": omega.clone(), "beta": beta.clone(), "weight_norm": norm.clone()}


def _method(
    family: Family,
    settings: Mapping[str, Any] = MappingProxyType({}),
    own_settings: tuple[str, ...] = (),
    **presets: Mapping[str, Any],
) -> Method:
    return Method(
        fit=partial(fit_affine, family),
        family=family,
        settings=settings,
        own_settings=own_settings,
        presets={"default": {}, **presets},
    )


def _softmax(head: HeadFacts, settings: RectifySettings) -> Rectifier:
    """The classifier as it is."""
    prior = head.log_prior
    return Rectifier(scale=torch.ones_like(prior), shift=torch.zeros_like(prior), log_prior=prior)


def _logit_adjustment(head: HeadFacts, settings: RectifySettings) -> Rectifier:
    """logits - tau log prior (Menon et al. 2021)."""
    prior, tau = head.log_prior, settings.known_tau
    return Rectifier(
        scale=torch.ones_like(prior),
        shift=-tau * prior,
        log_prior=torch.log_softmax((1 - tau) * prior, 0),
    )


def _fit_adjustment(inputs: FitInputs, settings: RectifySettings, context: FitContext) -> FitResult:
    """Logit adjustment as it is, or with tau and a temperature of greatest balanced likelihood.

    They are fitted on samples held out where there are some. On rows that phase one has seen the
    two are pulled as `marr` is; see `strengths`.
    """
    if settings.tau is not None:
        return FitResult.closed_form(_logit_adjustment(inputs, settings))
    rows = inputs if context.held_out is None else context.held_out
    prior = inputs.log_prior
    family = AffineFamily(
        num_classes=inputs.num_classes,
        scale="shared",
        shift_unit=prior.mean() - prior,
        shares_shift=True,
    )
    default = RectifySettings(tolerance=settings.tolerance)
    default = with_strengths(rows, default, context.resources)
    problem = build_problem(
        rows, default, family, resources=context.resources, progress=context.progress
    )
    solution = minimize_newton(problem, starting_point(problem, default), settings.tolerance)
    scale, shift = family.affine(solution.theta)
    found = float(scale[0])
    warnings = []
    if rows.rows == "seen":
        warnings.append(
            "tau and temperature are fitted on rows that phase one has seen, and pulled to what "
            "such rows leave open; a tune split would tell more"
        )
    absent = int(((rows.fitted_counts == 0) & (inputs.class_counts > 0)).sum())
    if absent:
        warnings.append(
            f"{absent} of {inputs.num_classes} classes have no row among those that tau and "
            "temperature are fitted on, and no say in them"
        )
    if found <= 0:
        warnings.append(f"the scale is {found:.3g}, which turns the ranking of classes around")
    return FitResult.closed_form(
        Rectifier(
            scale=scale.clone(), shift=shift, log_prior=torch.zeros_like(prior).log_softmax(0)
        ),
        warnings=warnings,
        chosen={
            "tau": float(solution.theta[-1]) / found,
            "temperature": 1 / found,
            "fit_split": settings.fit_split if context.held_out is None else "tune",
            "rows": rows.rows,
        },
    )


def _tau_norm(head: HeadFacts, settings: RectifySettings) -> Rectifier:
    """W_j / |W_j|^tau without the bias (Kang et al. 2020), or with the bias scaled alike.

    A class with a zero row keeps its scale: without its bias its logit is 0 at any. One that the
    head leaves out keeps scale and bias, and so stays out.
    """
    is_kept = (head.weight_norm <= 0) | head.left_out
    norm = torch.where(is_kept, 1.0, head.weight_norm).double()
    scale = norm**-settings.known_tau
    shift = torch.zeros_like(scale)
    if not settings.keep_bias and head.bias is not None:
        shift = torch.where(head.left_out, 0.0, -scale * head.bias.double())
    return Rectifier(scale=scale, shift=shift)


def _no_warnings(inputs: FitInputs, settings: RectifySettings) -> tuple[str, ...]:
    return ()


def _tau_norm_warnings(inputs: FitInputs, settings: RectifySettings) -> tuple[str, ...]:
    if inputs.bias is None and not settings.keep_bias:
        return ("no bias is known of this head, so none is taken out of the logits",)
    return ()


def _closed(
    rule: ClosedForm, *, own_settings: tuple[str, ...] = (), warnings: Warnings = _no_warnings
) -> Method:
    def fit(inputs: FitInputs, settings: RectifySettings, context: FitContext) -> FitResult:
        return FitResult.closed_form(rule(inputs, settings), warnings=warnings(inputs, settings))

    return Method(fit=fit, is_fitted=False, closed_form=rule, own_settings=own_settings)


# logits / T (Guo et al. 2017); the parameter is 1/T, in which the loss is convex.
TEMPERATURE = _method(_family("shared"), default=CALIBRATION, tempered=ON_HELD_OUT_ROWS)
# logits + c.
BIAS = _method(_family("fixed", "one"), default=CALIBRATION)
# logits / T + c: bias-corrected temperature scaling (Alexandari et al. 2020).
BCTS = _method(_family("shared", "one"), default=CALIBRATION)
# a * logits + c (Guo et al. 2017): MARR with every norm 1.
VECTOR_SCALING = _method(
    _family("per-class", "one"), default=CALIBRATION, tempered=ON_HELD_OUT_ROWS
)
# s * logits (Kang et al. 2020): the bias is scaled with the rest, as their code does, or left alone
# with `scale_bias` off, as the MARR paper writes it.
LWS = _method(
    _family("per-class"),
    CLASS_BALANCED,
    ("scale_bias",),
    paper={"scale_bias": False},
    official=CLASS_BALANCED_SAMPLING,
)
# omega * logits + beta * weight_norm (paper, equations 8 to 10).
MARR = _method(_family("per-class", "norm"), default=ON_HELD_OUT_ROWS, paper={}, official={})
SOFTMAX = _closed(_softmax)
LOGIT_ADJUSTMENT = replace(_closed(_logit_adjustment, own_settings=("tau",)), fit=_fit_adjustment)
TAU_NORM = _closed(_tau_norm, own_settings=("tau", "keep_bias"), warnings=_tau_norm_warnings)
