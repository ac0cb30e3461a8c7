"""Methods with nothing to fit, against the head that each of them stands for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.settings import RectifySettings

K, D, N = 5, 3, 40


@pytest.fixture
def head():
    generator = np.random.default_rng(3)
    return generator.normal(size=(K, D)), generator.normal(size=K)


@pytest.fixture
def features():
    return np.random.default_rng(4).normal(size=(N, D))


def inputs_of(weight, bias, features):
    logits = torch.from_numpy(features @ weight.T + bias)[None]
    counts = torch.tensor([40, 20, 10, 5, 1])
    return FitInputs(
        logits=logits,
        labels=torch.arange(N) % K,
        weight_norm=torch.from_numpy(np.linalg.norm(weight, axis=1)),
        class_counts=counts,
        prior_counts=counts,
        bias=torch.from_numpy(bias),
    )


def apply(inputs, **options):
    return fit_rectifier(inputs, RectifySettings(**options)).rectifier.apply(inputs.logits[0])


def test_tau_norm_of_a_dead_row_is_finite(head, features):
    weight, bias = head
    weight[2] = 0.0
    found = apply(inputs_of(weight, bias, features), method="tau-norm")
    np.testing.assert_allclose(found[:, 2], 0.0, atol=1e-12)


def test_tau_norm_without_a_known_bias_says_so(head, features):
    inputs = replace(inputs_of(*head, features), bias=None)
    fit = fit_rectifier(inputs, RectifySettings(method="tau-norm"))
    assert any("no bias is known" in warning for warning in fit.warnings)
    kept = fit_rectifier(inputs, RectifySettings(method="tau-norm", keep_bias=True))
    assert kept.warnings == ()


def test_softmax_is_the_classifier_as_it_is(head, features):
    weight, bias = head
    found = apply(inputs_of(weight, bias, features), method="softmax")
    np.testing.assert_allclose(found, features @ weight.T + bias, atol=1e-12)


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_logit_adjustment_subtracts_tau_log_priors_of_phase_one(head, features, tau):
    inputs = inputs_of(*head, features)
    seen = replace(inputs, prior_counts=torch.tensor([9, 9, 9, 9, 0]))
    found = apply(seen, method="logit-adjustment", tau=tau) - inputs.logits[0]
    expected = -tau * np.log(np.array([9, 9, 9, 9, 0.5]) / 36.5)  # an absent class: half an image
    np.testing.assert_allclose(found, np.broadcast_to(expected, (N, K)), atol=1e-12)


@given(tau=st.floats(0.0, 2.0), keep_bias=st.booleans(), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_tau_norm_is_the_head_written_out(tau, keep_bias, seed):
    generator = np.random.default_rng(seed)
    weight, bias = generator.normal(size=(K, D)), generator.normal(size=K)
    features = generator.normal(size=(N, D))
    found = apply(
        inputs_of(weight, bias, features), method="tau-norm", tau=tau, keep_bias=keep_bias
    )
    power = np.linalg.norm(weight, axis=1) ** tau
    expected = features @ (weight / power[:, None]).T + (bias / power if keep_bias else 0.0)
    np.testing.assert_allclose(found, expected, atol=1e-9)
