"""Fits of DisAlign: where they start, where they end, and what they contain."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import make_featured_inputs, make_theta
from reference import released_loss
from scipy.optimize import minimize as scipy_minimize

from marr_pipeline.checks.fits import fit_findings
from marr_pipeline.errors import ConfigError
from marr_pipeline.optim import lbfgs
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify import schedule as sgd
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import class_weights
from marr_pipeline.rectify.methods.disalign import build_confidence_problem, confidence_start

K, D = 7, 4


@pytest.fixture
def inputs():
    return make_featured_inputs()


def disalign(preset="default", **options):
    return preset_settings(preset, method="disalign", **options)


def theta_of(rectifier):
    parts = (rectifier.scale, rectifier.shift)
    return torch.cat([*parts, rectifier.confidence_weight, rectifier.confidence_bias])


def penalised(theta, inputs, options):
    """F of the released form: what its SGD has in expectation, weight decay as a ridge."""
    weights = class_weights(inputs.class_counts, options.gamma)
    center = torch.zeros_like(theta)
    center[:K] = 1.0 if options.center == "identity" else 0.0
    ridge = 0.5 * options.l2 * (theta - center).square().sum()
    return released_loss(theta, inputs, weights, options.reduction) + ridge


def gradient_of(theta, inputs, options):
    theta = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalised(theta, inputs, options), theta)
    return gradient


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("form", ["paper", "cvpods"])
def test_the_gradient_vanishes_at_the_fit(inputs, preset, form):
    options = disalign(preset, form=form)
    fit = fit_rectifier(inputs, options)
    theta = theta_of(fit.rectifier)
    assert (fit.status, fit.gap_bound) == (FitStatus.CONVERGED, None)
    assert float(gradient_of(theta, inputs, options).norm()) <= 2e-6
    assert fit.loss == pytest.approx(float(penalised(theta, inputs, options)), rel=1e-12)
    assert any("a lower one may exist" in warning for warning in fit.warnings)


def test_scipy_finds_nothing_lower_nearby(inputs):
    options = disalign()
    fit = fit_rectifier(inputs, options)

    def objective(point):
        theta = torch.from_numpy(point).requires_grad_()
        value = penalised(theta, inputs, options)
        (gradient,) = torch.autograd.grad(value, theta)
        return float(value.detach()), gradient.numpy()

    start = theta_of(fit.rectifier).numpy() + 0.05 * np.random.default_rng(0).normal(size=19)
    found = scipy_minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-8}
    )
    assert found.fun == pytest.approx(fit.loss, abs=1e-7)


@given(seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_it_never_ends_above_marr_which_it_contains(seed):
    inputs = make_featured_inputs(seed=seed)
    shared = {"gamma": 1.2, "l2": 0.0, "reduction": "weighted", "center": "identity"}
    shared["tolerance"] = 1e-5
    marr = fit_rectifier(inputs, preset_settings("default", method="marr", **shared))
    fit = fit_rectifier(inputs, disalign(**shared))
    assert fit.loss <= marr.loss + 1e-8
    # MARR itself, in DisAlign's numbers: every confidence 1/2, twice the change.
    theta = torch.zeros(2 * K + D + 1, dtype=torch.float64)
    theta[:K] = 2 * marr.rectifier.scale - 1
    theta[K : 2 * K] = 2 * marr.rectifier.shift
    problem = build_confidence_problem(inputs, disalign(**shared))
    assert problem.evaluate(theta, precise=True).value == pytest.approx(marr.loss, rel=1e-12)


def test_a_descent_from_the_held_minimum_never_rises(inputs):
    options = disalign()
    held = build_confidence_problem(inputs, options).with_confidence_held()
    start = confidence_start(options, num_classes=K, num_features=D)
    gradient = held.evaluate(start, precise=True).gradient
    assert torch.equal(gradient[2 * K :], torch.zeros(D + 1, dtype=torch.float64))
    vector = preset_settings("default", method="vector-scaling", center="identity", l2=5e-4)
    affine = fit_rectifier(inputs, vector)
    half = torch.cat([2 * affine.rectifier.scale - 1, 2 * affine.rectifier.shift])
    theta = torch.cat([half, start[2 * K :]])
    assert fit_rectifier(inputs, options).loss <= held.evaluate(theta, precise=True).value


def test_starts_are_those_of_the_two_forms():
    paper = confidence_start(disalign(), num_classes=K, num_features=D)
    assert paper.tolist() == [1.0] * K + [0.0] * (K + D + 1)
    options = disalign(form="cvpods", seed=3)
    released = confidence_start(options, num_classes=K, num_features=D)
    assert released[:-1].tolist() == [2.0] * K + [0.0] * K + [0.1] * D
    assert 0 < abs(float(released[-1])) <= 1 / math.sqrt(D)
    assert torch.equal(released, confidence_start(options, num_classes=K, num_features=D))
    other = confidence_start(replace(options, seed=4), num_classes=K, num_features=D)
    assert float(other[-1]) != float(released[-1])


@pytest.mark.parametrize("dataset", ["imagenet-lt", "cifar10-lt"])
def test_official_sgd_is_the_released_code_on_the_same_batches(dataset, monkeypatch):
    """torch's SGD on a, b, v, c with the released code's forward pass and weighted mean."""
    inputs = make_featured_inputs(num_views=1, num_samples=700)
    options = disalign("official", seed=1)
    batches, schedules = [], []
    draw = sgd.draw_batches

    def recorded(schedule, **arguments):
        schedules.append(schedule)
        for views, batch in draw(schedule, **arguments):
            batches.append(batch)
            yield views, batch

    monkeypatch.setattr(sgd, "draw_batches", recorded)
    fit = fit_rectifier(inputs, options, dataset=dataset)
    (schedule,) = schedules

    start = confidence_start(options, num_classes=K, num_features=D)
    a = (start[:K] - 1).requires_grad_()
    b, v, c = (part.clone().requires_grad_() for part in torch.split(start[K:], [K, D, 1]))
    optimizer = torch.optim.SGD([a, b, v, c], lr=1.0, momentum=0.9, weight_decay=5e-4)
    weights = class_weights(inputs.class_counts, 1.2)
    logits, features = inputs.logits[0].double(), inputs.features[0].double()
    for step, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = schedule.learning_rate(step)
        q = torch.sigmoid(features[batch] @ v + c)[:, None]
        mixed = (1 + q * a) * logits[batch] + q * b
        loss = torch.nn.functional.cross_entropy(mixed, inputs.labels[batch], weight=weights)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    expected = torch.cat([a.detach() + 1, b.detach(), v.detach(), c.detach()])
    torch.testing.assert_close(theta_of(fit.rectifier), expected, rtol=2e-4, atol=2e-4)
    assert fit.status is FitStatus.SCHEDULE_END
    assert len(batches) == schedule.iterations >= 20


def test_a_step_limit_says_how_far_it_came(inputs, monkeypatch):
    monkeypatch.setattr(lbfgs, "MAX_STEPS", 1)
    fit = fit_rectifier(inputs, disalign())
    assert fit.status is FitStatus.STEP_LIMIT
    found = fit_findings({"disalign": fit.rectifier})
    assert "R04" in [each.code for each in found if each is not None]
    assert fit.gradient_norm > 1e-6


def test_newton_is_refused(inputs):
    with pytest.raises(ConfigError, match="optimizer: lbfgs or sgd expected for disalign, got"):
        fit_rectifier(inputs, disalign(optimizer="newton"))


@pytest.mark.parametrize("center", ["zero", "identity", "logit-adjustment", "tempered"])
def test_every_ridge_pulls_the_confidence_to_zero(inputs, center):
    problem = build_confidence_problem(inputs, disalign(center=center, l2=0.3))
    data = build_confidence_problem(inputs, disalign(l2=0.0))
    theta = make_theta(inputs)
    ridge, plain = (each.evaluate(theta, precise=True) for each in (problem, data))
    torch.testing.assert_close((ridge.gradient - plain.gradient)[2 * K :], 0.3 * theta[2 * K :])


def test_a_confidence_that_died_is_told(inputs):
    told = "old ones"
    fit = fit_rectifier(inputs, disalign("official"))
    assert not any(told in warning for warning in fit.warnings)
    # The start doubles the logits, which are wrong enough for a step to leave them alone for good.
    far = replace(inputs, logits=10 * inputs.logits, features=30 * inputs.features.abs())
    dead = fit_rectifier(far, disalign("official"))
    assert dead.rectifier.raw_confidence(far.features).sigmoid().mean() < 0.01
    assert any(told in warning for warning in dead.warnings)
