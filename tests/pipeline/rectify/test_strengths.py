"""How strongly a fit is pulled where nobody says it, and that it is safe on rows of every kind."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from marr_pipeline.rectify.affine import AffineFamily
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.strengths import effective_rows, with_strengths

DEFAULT = preset_settings("default")
COUNTS = (400, 100, 40, 12)


def gaussian_rows(counts, *, seed=0, distance=2.0):
    """Rows of unit Gaussians around K far points: features (N, K) and labels (N,)."""
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).normal(size=(len(labels), len(counts)))
    return noise + distance * np.eye(len(counts))[labels], labels


def make(logits, labels, counts=COUNTS, prior=None, rows="seen"):
    counts = torch.tensor(counts)
    return FitInputs(
        logits=torch.as_tensor(logits)[None],
        labels=torch.as_tensor(labels),
        class_counts=counts,
        prior_counts=counts if prior is None else torch.as_tensor(prior),
        weight_norm=torch.ones(len(counts), dtype=torch.float64),
        rows=rows,
    )


def honest(rows="seen", seed=0, distance=2.0, factor=1.0):
    """Rows whose logits are the logarithm of the posterior, times a factor."""
    features, labels = gaussian_rows(COUNTS, seed=seed, distance=distance)
    logits = distance * features + np.log(np.array(COUNTS) / sum(COUNTS))
    return make(factor * logits, labels, rows=rows)


def memorised():
    """Rows whose own logit stands far above the others."""
    features, labels = gaussian_rows(COUNTS)
    return make(features + 12 * np.eye(4)[labels], labels)


def balanced(logits, labels):
    """Mean class accuracy and mean class NLL."""
    nll = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    right = logits.argmax(1) == labels
    classes = range(logits.shape[1])
    return tuple(np.mean([one[labels == k].mean() for k in classes]) for one in (right, nll))


def test_effective_rows_are_those_of_the_weights_and_not_of_views():
    inputs = honest()
    weights = 1 / np.array(COUNTS)[inputs.labels.numpy()]
    expected = weights.sum() ** 2 / (weights**2).sum()
    assert effective_rows(inputs) == pytest.approx(expected, rel=1e-12)
    doubled = replace(inputs, logits=inputs.logits.repeat(2, 1, 1))
    assert effective_rows(doubled) == pytest.approx(expected, rel=1e-12)


def test_rows_held_out_are_worth_what_they_are():
    inputs = honest("held-out")
    found = with_strengths(inputs, DEFAULT)
    rows = effective_rows(inputs)
    assert (found.rows, found.memorised) == ("held-out", 0.0)
    assert found.l2 == pytest.approx(3 / rows)
    assert found.scale_l2 == pytest.approx(1 / rows / math.log(4))
    said = with_strengths(honest(), replace(DEFAULT, rows="held-out"))
    assert said == found


def test_memorised_rows_are_pulled_and_others_are_capped():
    rows = effective_rows(memorised())
    found = with_strengths(memorised(), DEFAULT)
    assert (found.memorised, found.scale_l2) == (1.0, pytest.approx(0.2))
    assert found.l2 == pytest.approx(3000 / rows)
    assert with_strengths(honest(distance=1.0), DEFAULT).memorised == 0.0


@pytest.mark.parametrize("factor", [0.2, 0.5, 1.0, 3.0])
def test_the_scale_of_seen_rows_is_never_above_one(factor):
    """Too small, right and too large logits: on the line alone, s is at most 1."""
    inputs = honest(factor=factor, distance=1.0)
    fit = fit_rectifier(inputs, replace(with_strengths(inputs, DEFAULT), l2=1e6))
    assert float(fit.rectifier.scale.max()) <= 1 + 1e-3


def test_what_is_given_stays():
    given = replace(DEFAULT, l2=0.7, scale_l2=0.3, memorised=0.25)
    assert with_strengths(memorised(), given) == given
    some = with_strengths(memorised(), replace(DEFAULT, memorised=0.25, l2=0.7))
    assert (some.l2, some.memorised) == (0.7, 0.25)
    stored = fit_rectifier(memorised(), replace(DEFAULT, l2=0.7)).rectifier.metadata
    assert set(stored["from_rows"]) == {"scale_l2", "memorised", "rows"}


@pytest.mark.parametrize("rows", ["seen", "held-out"])
@pytest.mark.parametrize("kind", [honest, memorised])
def test_the_plain_mean_has_the_minimum_of_the_weighted_one(kind, rows):
    """It is that times the rows' mean weight, and the strengths found are so too."""
    inputs = replace(kind(), rows=rows)
    weighted = replace(DEFAULT, gamma=1.2, tolerance=1e-12)
    plain = replace(weighted, reduction="plain")
    one, other = (fit_rectifier(inputs, settings) for settings in (weighted, plain))
    unit = other.loss / one.loss
    assert unit < 0.6
    known = with_strengths(inputs, plain)
    assert known.l2 == pytest.approx(unit * with_strengths(inputs, weighted).l2)
    torch.testing.assert_close(
        other.rectifier.scale, one.rectifier.scale, rtol=0, atol=1e-4, check_dtype=False
    )
    # Where the ridge's strength alone is given, the common scale is still the rows'.
    given = fit_rectifier(inputs, replace(plain, l2=unit * 0.7))
    same = fit_rectifier(inputs, replace(weighted, l2=0.7))
    torch.testing.assert_close(given.rectifier.scale, same.rectifier.scale, rtol=0, atol=1e-4)


def test_a_prior_that_the_rows_contradict_binds_no_fit():
    """Logits for balanced classes, said to be those of the tail: softmax is right."""
    features, labels = gaussian_rows(COUNTS)
    inputs = make(2 * features, labels)
    right, _ = balanced(inputs.logits[0].numpy(), labels)
    adjusted, _ = balanced((inputs.logits[0] - inputs.log_prior).numpy(), labels)
    fit = fit_rectifier(inputs, DEFAULT)
    found, _ = balanced(fit.rectifier.apply(inputs.logits[0]).numpy(), labels)
    assert adjusted < right - 0.1
    assert found > right - 0.02


def test_an_absent_class_is_not_what_is_predicted():
    features, labels = gaussian_rows((80, 60, 0, 40), distance=3.0)
    inputs = make(features, labels, counts=(80, 60, 0, 40))
    adjusted = (inputs.logits[0] - inputs.log_prior).argmax(1)
    assert (adjusted == 2).double().mean() > 0.5
    fit = fit_rectifier(inputs, DEFAULT)
    assert (fit.rectifier.apply(inputs.logits[0]).argmax(1) == inputs.labels).double().mean() > 0.9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kind", "rows"),
    [("honest", "held-out"), ("honest", "seen"), ("too sure", "held-out"), ("memorised", "seen")],
)
def test_never_below_the_better_of_softmax_and_adjustment(kind, rows, seed):
    """New rows of every class; noise is three standard errors of their accuracy, about a point."""
    features, labels = gaussian_rows(COUNTS, seed=seed)
    new, new_labels = gaussian_rows((2000,) * 4, seed=100 + seed)
    log_prior = np.log(np.array(COUNTS) / sum(COUNTS))
    factor = 3.0 if kind == "too sure" else 1.0
    fitted, test = (factor * (2 * one + log_prior) for one in (features, new))
    if kind == "memorised":
        fitted = fitted + 15 * np.eye(4)[labels]
        test = 2.5 * test
    inputs = make(fitted, labels, rows=rows)
    fit = fit_rectifier(inputs, DEFAULT)
    found, nll = balanced(fit.rectifier.apply(torch.from_numpy(test)).numpy(), new_labels)
    others = [balanced(one, new_labels) for one in (test, test - log_prior)]
    assert found >= max(right for right, _ in others) - 0.015
    assert nll <= max(loss for _, loss in others) + 1e-9


def test_rows_of_other_shares_count_alike_where_they_are_held_out():
    """A balanced sample is fitted as one, whatever the counts of the training list."""
    _, labels = gaussian_rows((30,) * 4)
    logits = np.random.default_rng(1).normal(size=(120, 4))
    weights, _ = make(logits, labels, rows="held-out").loss_weights(DEFAULT, "instance")
    torch.testing.assert_close(weights, torch.ones(4, dtype=torch.float64))
    weights, _ = make(logits, labels).loss_weights(DEFAULT, "instance")
    assert float(weights[3] / weights[0]) == pytest.approx(COUNTS[0] / COUNTS[3])


def test_adjustment_is_tuned_by_two_numbers():
    """tau and temperature of greatest balanced likelihood, against SciPy."""
    inputs = honest("held-out", factor=2.5)
    settings = replace(preset_settings("default", method="logit-adjustment"), tau=None)
    fit = fit_rectifier(inputs, replace(settings, tolerance=1e-10))
    log_prior, labels = inputs.log_prior.numpy(), inputs.labels.numpy()
    strengths = with_strengths(inputs, DEFAULT)
    direction = log_prior.mean() - log_prior

    def objective(point):
        _, nll = balanced(point[0] * inputs.logits[0].numpy() + point[1] * direction, labels)
        along = point.sum() / 2
        across = ((point - along) ** 2).sum()
        return nll + 0.5 * (strengths.l2 * across + strengths.scale_l2 * math.log(4) * along**2)

    found = minimize(objective, [1.0, 1.0], method="BFGS", options={"gtol": 1e-9}).x
    scale, shift = fit.rectifier.scale, fit.rectifier.shift
    assert float(scale[0]) == pytest.approx(found[0], rel=1e-4)
    assert fit.chosen["temperature"] == pytest.approx(1 / found[0], rel=1e-4)
    assert fit.chosen["tau"] == pytest.approx(found[1] / found[0], rel=1e-4)
    torch.testing.assert_close(shift, found[1] * torch.from_numpy(direction), rtol=1e-4, atol=1e-5)
    assert 1 / found[0] == pytest.approx(2.5, rel=0.2)


def test_one_parameter_makes_every_shift():
    unit = torch.tensor([-1.0, 0.5, 0.5], dtype=torch.float64)
    family = AffineFamily(num_classes=3, scale="shared", shift_unit=unit, shares_shift=True)
    theta = torch.tensor([2.0, 3.0], dtype=torch.float64)
    scale, shift = family.affine(theta)
    torch.testing.assert_close(scale, torch.full((3,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(shift, 3 * unit)
    torch.testing.assert_close(family.parameters(2.0, 3 * unit), theta)
    matrix = torch.zeros(6, 2, dtype=torch.float64)
    matrix[:3, 0], matrix[3:, 1] = 1.0, unit
    gradient = torch.arange(6, dtype=torch.float64)
    pulled = family.pull_back(gradient[:3], gradient[3:])
    torch.testing.assert_close(pulled, matrix.T @ gradient)
    whole = torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double()
    whole = whole @ whole.T
    blocks = whole[:3, :3], whole[:3, 3:], whole[3:, 3:]
    torch.testing.assert_close(family.pull_back_hessian(*blocks), matrix.T @ whole @ matrix)


def test_adjustment_says_which_rows_it_was_tuned_on_and_lacks():
    inputs = honest()
    part = inputs.labels < 3
    held = replace(
        inputs, logits=inputs.logits[:, part], labels=inputs.labels[part], rows="held-out"
    )
    settings = replace(preset_settings("default", method="logit-adjustment"), tau=None, rows="seen")
    fit = fit_rectifier(inputs, settings, held_out=held)
    assert (fit.rectifier.metadata["fit_split"], fit.rectifier.metadata["rows"]) == (
        "tune",
        "held-out",
    )
    assert any("1 of 4 classes have no row" in warning for warning in fit.warnings)
    assert not any("has seen" in warning for warning in fit.warnings)


def test_a_class_without_held_out_rows_is_as_common_as_the_mean_class():
    features, labels = gaussian_rows((60, 60, 60, 0), distance=6.0)
    log_prior = np.log(np.array(COUNTS) / sum(COUNTS))
    fit = fit_rectifier(make(6 * features + log_prior, labels, rows="held-out"), DEFAULT)
    shares = fit.rectifier.log_prior.exp()
    assert float(shares[3]) == pytest.approx(0.25)
    assert float(shares.sum()) == pytest.approx(1)


def test_a_temperature_alone_is_not_fitted_again_for_its_ranking():
    inputs = honest("held-out")
    settings = preset_settings("tempered", method="temperature")
    fit = fit_rectifier(inputs, settings)
    assert fit.rectifier.metadata["l2"] == pytest.approx(3 / effective_rows(inputs))
    assert not any("bear no ranking" in warning for warning in fit.warnings)
