"""Methods with nothing to fit, against the head that each of them stands for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, DataError
from pipeline.rectify.fit import fit_rectifier
from pipeline.rectify.inputs import FitInputs
from pipeline.rectify.settings import RectifySettings

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


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0, 2.0])
def test_tau_norm_is_a_head_of_normalised_rows_without_bias(head, features, tau):
    weight, bias = head
    normalised = weight / np.linalg.norm(weight, axis=1, keepdims=True) ** tau
    found = apply(inputs_of(weight, bias, features), method="tau-norm", tau=tau)
    np.testing.assert_allclose(found, features @ normalised.T, atol=1e-12)


def test_tau_norm_with_its_bias_scales_it_alike(head, features):
    weight, bias = head
    scale = np.linalg.norm(weight, axis=1) ** -0.7
    found = apply(inputs_of(weight, bias, features), method="tau-norm", tau=0.7, keep_bias=True)
    np.testing.assert_allclose(found, (features @ weight.T + bias) * scale, atol=1e-12)


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


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_logit_adjustment_subtracts_tau_log_priors(head, features, tau):
    inputs = inputs_of(*head, features)
    found = apply(inputs, method="logit-adjustment", tau=tau)
    log_prior = np.log(np.array([40, 20, 10, 5, 1]) / 76)
    np.testing.assert_allclose(found, inputs.logits[0].numpy() - tau * log_prior, atol=1e-12)


def test_tau_must_be_a_number():
    with pytest.raises(ConfigError, match="tau: a finite number expected, got nan"):
        RectifySettings(tau=float("nan"))


def test_bias_of_another_head_is_refused(head, features):
    with pytest.raises(DataError, match=r"bias: shape \(5,\) expected, got \(4,\)"):
        replace(inputs_of(*head, features), bias=torch.zeros(4))
