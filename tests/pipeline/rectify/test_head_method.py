"""`head`, `ncm` and `gda` against NumPy and SciPy, which know none of our coordinates."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import make_head_inputs, samples_of, without_class
from scipy.optimize import minimize
from scipy.special import log_softmax

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.head.frame import build_head_problem
from marr_pipeline.rectify.head.solve import minimize_head
from marr_pipeline.rectify.inputs import GivenHead
from marr_pipeline.rectify.methods.centroids import SHRINKAGES
from marr_pipeline.rectify.tuning import TuningOptions, tune
from marr_pipeline.workflows.arrays.head import read_center

K = 5


def options_of(method="head", **more):
    return preset_settings(
        "default", method=method, **{"tolerance": 1e-11, "l2": 1e-3, "center": "zero", **more}
    )


def single_image(inputs):
    keep = inputs.labels != 4
    keep[int((inputs.labels == 4).nonzero()[0])] = True
    found = samples_of(inputs, keep)
    counts = torch.bincount(found.labels, minlength=K)
    return replace(found, class_counts=counts, prior_counts=counts)


def shifted(inputs):
    return replace(inputs, features=inputs.features + 30)


def given_matrix(seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((K, 4), generator=generator)


def with_matrix(inputs):
    return replace(inputs, center=GivenHead(weight=given_matrix()))


def with_head(inputs):
    prior = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.1]).log()
    head = GivenHead(weight=given_matrix(), bias=torch.arange(K) / 3, log_prior=prior)
    return replace(inputs, center=head)


def plain(inputs):
    return inputs


PROBLEMS = {
    "zero, unit": (plain, {}),
    "zero, features as they are": (plain, {"normalise": "none"}),
    "plain probe, standard": (plain, {"normalise": "standard", "tau": 0.0}),
    "class weights, half of the prior": (
        plain,
        {"gamma": 0.5, "tau": 0.5, "center": "class-means"},
    ),
    "an absent class": (lambda inputs: without_class(inputs, 2), {"center": "class-means"}),
    "a class of one image": (single_image, {"center": "gda", "shrinkage": 0.3}),
    "far-off features": (shifted, {"normalise": "standard", "center": "class-means", "tau": 0.0}),
    "the cache's head": (plain, {"normalise": "standard", "center": "cache", "tau": 0.0}),
    "a matrix": (with_matrix, {"center": "file"}),
    "a head of another prior": (with_head, {"center": "file", "normalise": "none", "l2": 0.1}),
    "free bias": (plain, {"free_bias": True, "center": "class-means"}),
}


def naive_center(chosen, inputs, x, labels, present, mean, deviation):
    """Weight, bias, log prior and whether it has a scale, in the coordinates of x."""
    width = x.shape[1]
    uniform = np.full(K, -np.log(K))
    if chosen.center == "zero":
        return np.zeros((K, width)), np.zeros(K), None, False
    mu = np.stack([x[labels == k].mean(0) if present[k] else np.zeros(width) for k in range(K)])
    centred = np.where(present[:, None], mu - mu[present].mean(0), 0.0)
    weight = centred
    if chosen.center == "gda":
        covariance = (x - mu[labels]).T @ (x - mu[labels]) / len(x)
        shrunk = (1 - chosen.shrinkage) * covariance
        shrunk += chosen.shrinkage * np.trace(covariance) / width * np.eye(width)
        weight = centred @ np.linalg.inv(shrunk)
    if chosen.center in ("class-means", "gda"):
        bias = -0.5 * (weight * centred).sum(1) - weight @ mu[present].mean(0)
        return weight, bias, uniform, True
    given = inputs.own_head() if chosen.center == "cache" else inputs.center
    weight = given.weight.double().numpy()
    bias = np.zeros(K) if given.bias is None else given.bias.double().numpy()
    prior = uniform if given.log_prior is None else given.log_prior.double().numpy()
    return weight * deviation, bias + weight @ mean, prior, given.bias is None


def naive_fit(inputs, chosen):
    """Logits of the rows at the minimum, and the minimum, by SciPy on NumPy's formulas."""
    x = inputs.features.flatten(0, 1).double().numpy()
    labels = inputs.labels.repeat(inputs.num_views).numpy()
    mean, deviation = np.zeros(x.shape[1]), np.ones(x.shape[1])
    if chosen.normalise == "unit":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    if chosen.normalise == "standard":
        mean, deviation = x.mean(0), x.std(0) * np.sqrt(x.shape[1])
        x = (x - mean) / deviation
    rows = np.bincount(labels, minlength=K)
    present = rows > 0
    counts = inputs.class_counts.double().numpy()
    weights = np.where(present, np.maximum(counts, 1.0) ** -chosen.gamma, 0.0)
    weights *= present.sum() / weights.sum()
    log_rows = np.log(np.where(present, rows, 0.5) / np.where(present, rows, 0.5).sum())
    prior = (1 - chosen.tau) * log_rows + np.log(np.where(present, weights, 1.0))
    prior = log_softmax(prior)
    weight, bias, stands_for, has_scale = naive_center(
        chosen, inputs, x, labels, present, mean, deviation
    )
    constant = 0.0 if stands_for is None else prior - stands_for
    l2 = chosen.l2 * (x**2).sum(1).mean()
    if chosen.free_bias:
        bias = np.zeros(K)
    center = np.concatenate([weight, bias[:, None]], 1)
    mu = np.stack([x[labels == k].mean(0) for k in range(K) if present[k]])
    spread = (mu @ center[:, :-1].T + center[:, -1])[:, present].var(1).mean()
    scale_l2 = (chosen.scale_l2 or 0.2) * spread / np.log(K)
    padded = np.concatenate([x, np.ones((len(x), 1))], 1)
    one_hot = np.eye(K)[labels]
    of_row = weights[labels] / len(x)
    held = np.ones_like(center)
    held[:, -1] = 0.0 if chosen.free_bias else 1.0

    def objective(theta):
        head = theta.reshape(center.shape)
        logits = padded @ head.T + constant + chosen.tau * log_rows
        logits[:, ~present] = -np.inf
        log_p = log_softmax(logits, axis=1)
        value = -(of_row * log_p[np.arange(len(x)), labels]).sum()
        gradient = ((np.exp(log_p) - one_hot) * of_row[:, None]).T @ padded
        if has_scale:
            scale = (held * center * head).sum() / (center**2).sum()
            across = held * head - scale * center
            value += l2 / 2 * (across**2).sum() + scale_l2 / 2 * scale**2
            gradient += l2 * across + scale_l2 * scale / (center**2).sum() * center
        else:
            across = held * (head - center)
            value += l2 / 2 * (across**2).sum()
            gradient += l2 * across
        return value, gradient.ravel()

    found = minimize(
        objective,
        center.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 30},
    )
    head = found.x.reshape(center.shape)
    return padded @ head.T + constant, found.fun, present


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_the_fit_is_that_of_an_independent_solver(name):
    prepare, options = PROBLEMS[name]
    inputs, chosen = prepare(make_head_inputs(dtype=torch.float64)), options_of(**options)
    fit = fit_rectifier(inputs, chosen)
    logits, value, present = naive_fit(inputs, chosen)
    assert fit.status is FitStatus.CONVERGED
    assert fit.loss == pytest.approx(value, abs=1e-9)
    assert (fit.gap_bound is None) == chosen.free_bias
    found = fit.rectifier.apply(None, inputs.features).flatten(0, 1).numpy()
    np.testing.assert_allclose(
        log_softmax(found[:, present], axis=1),
        log_softmax(logits[:, present], axis=1),
        rtol=0,
        atol=2e-4,
    )
    assert present[found.argmax(1)].all()
    total = fit.rectifier.log_prior.logsumexp(0)
    torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"num_features": 60, "num_samples": 40, "num_views": 1},
        {"dtype": torch.float16},
        {"dtype": torch.float32},
    ],
    ids=["more features than rows", "float16", "float32"],
)
@pytest.mark.parametrize("center", ["zero", "gda"])
def test_wide_and_rounded_features(options, center):
    inputs, chosen = make_head_inputs(**options), options_of(center=center, shrinkage=0.5)
    fit = fit_rectifier(inputs, chosen)
    _, value, _ = naive_fit(inputs, chosen)
    assert fit.loss == pytest.approx(value, abs=1e-6)
    assert fit.gap_bound <= chosen.tolerance


@pytest.mark.parametrize("center", ["zero", "class-means"])
def test_at_the_minimum_the_start_makes_no_difference(center):
    inputs, chosen = make_head_inputs(dtype=torch.float64), options_of(center=center)
    generator = torch.Generator().manual_seed(0)
    problem = build_head_problem(inputs, chosen)
    starts = 5 * torch.randn((3, *problem.ridge.center.shape), generator=generator).double()
    ends = [
        minimize_head(problem, 1e-13, optimizer="newton", start=start).theta
        for start in (None, *starts)
    ]
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=0, atol=1e-5)


def test_standardised_features_fold_back():
    """A head on standardised rows is the head on the rows themselves, one constant among them."""
    inputs = make_head_inputs(dtype=torch.float64)
    features = torch.cat([inputs.features, torch.full_like(inputs.features[..., :1], 7.3)], -1)
    inputs = replace(inputs, features=features, weight=None)
    fit = fit_rectifier(inputs, options_of(normalise="standard"))
    mean = features.flatten(0, 1).mean(0)
    deviation = features.flatten(0, 1).std(0, correction=0) * 5**0.5
    by_hand = torch.where(deviation > 1e-9, (features - mean) / deviation, 0.0)
    again = fit_rectifier(
        replace(inputs, features=by_hand),
        options_of(normalise="none"),
    )
    torch.testing.assert_close(
        again.rectifier.apply(None, by_hand), fit.rectifier.apply(None, features), atol=1e-6, rtol=0
    )
    assert fit.rectifier.normalise == "none"
    assert not bool(fit.rectifier.weight[:, -1].any())


@settings(max_examples=6, deadline=None)
@given(
    factor=st.floats(1e-3, 1e3),
    normalise=st.sampled_from(["unit", "standard"]),
    method=st.sampled_from(["head", "ncm", "gda"]),
    seed=st.integers(0, 1000),
)
def test_the_features_scale_changes_nothing(factor, normalise, method, seed):
    inputs = make_head_inputs(seed=seed, dtype=torch.float64)
    scaled = replace(inputs, features=factor * inputs.features)
    chosen = options_of(method, normalise=normalise)
    one, other = (fit_rectifier(each, chosen).rectifier for each in (inputs, scaled))
    torch.testing.assert_close(
        one.apply(None, inputs.features).log_softmax(-1),
        other.apply(None, scaled.features).log_softmax(-1),
        rtol=0,
        atol=1e-3,
    )


@pytest.mark.parametrize("method", ["ncm", "gda"])
@pytest.mark.parametrize("shape", [(200, 4), (30, 50)], ids=["many rows", "more features"])
@pytest.mark.parametrize("prepare", [plain, single_image, lambda inputs: without_class(inputs, 1)])
def test_closed_forms_are_the_formulas(method, shape, prepare):
    num_samples, num_features = shape
    inputs = prepare(
        make_head_inputs(num_samples=num_samples, num_features=num_features, dtype=torch.float64)
    )
    options = {"shrinkage": 0.4} if method == "gda" else {}
    fit = fit_rectifier(inputs, options_of(method, normalise="none", scale=2.5, **options))
    x = inputs.features.flatten(0, 1).numpy()
    labels = inputs.labels.repeat(inputs.num_views).numpy()
    present = np.bincount(labels, minlength=K) > 0
    mu = np.stack([x[labels == k].mean(0) for k in range(K) if present[k]])
    inverse = np.eye(num_features)
    if method == "gda":
        away = x - np.stack([x[labels == k].mean(0) for k in labels])
        covariance = away.T @ away / len(x)
        shrunk = 0.6 * covariance + 0.4 * np.trace(covariance) / num_features * np.eye(num_features)
        inverse = np.linalg.inv(shrunk)
    expected = 2.5 * (x @ inverse @ mu.T - 0.5 * (mu @ inverse * mu).sum(1))
    found = fit.rectifier.apply(None, inputs.features).flatten(0, 1).numpy()
    np.testing.assert_allclose(
        log_softmax(found[:, present], axis=1), log_softmax(expected, axis=1), rtol=0, atol=1e-8
    )
    assert present[found.argmax(1)].all()
    assert fit.rectifier.log_prior.exp().tolist() == pytest.approx([1 / K] * K)
    assert any("never predicts" in each for each in fit.warnings) == (not present.all())


@pytest.mark.parametrize("method", ["ncm", "gda"])
def test_scale_and_shrinkage_are_the_best_on_held_out_rows(method):
    both = make_head_inputs(dtype=torch.float64)
    inputs = both.first_views(1)
    others = replace(both, logits=both.logits[1:], features=both.features[1:])

    def balanced_nll(rectifier):
        log_p = rectifier.apply(None, others.features[0]).log_softmax(-1)
        own = -log_p[torch.arange(len(others.labels)), others.labels]
        return float(torch.stack([own[others.labels == k].mean() for k in range(K)]).mean())

    fit = fit_rectifier(inputs, options_of(method), held_out=others)
    best = balanced_nll(fit.rectifier)
    scale = fit.chosen["scale"]
    tried_of = {"scale": (0.8 * scale, 1.25 * scale), "shrinkage": SHRINKAGES}
    for name in fit.chosen:
        for value in tried_of[name]:
            tried = {**fit.chosen, name: value}
            assert (
                best
                <= balanced_nll(fit_rectifier(inputs, options_of(method, **tried)).rectifier) + 1e-9
            )
    folds = fit_rectifier(inputs, options_of(method))
    assert folds.chosen["scale"] > 0
    assert balanced_nll(folds.rectifier) < np.log(K) + 0.5


def test_what_cannot_be_is_refused():
    inputs = make_head_inputs()
    with pytest.raises(ConfigError, match="none or standard expected"):
        fit_rectifier(inputs, options_of(center="cache", normalise="unit"))
    of_unit_rows = replace(inputs, unit=True)
    with pytest.raises(ConfigError, match="normalise: unit expected"):
        fit_rectifier(of_unit_rows, options_of(center="cache", normalise="none"))
    assert fit_rectifier(of_unit_rows, options_of(center="cache", normalise="unit")).gap_bound
    with pytest.raises(ConfigError, match="optimizer: lbfgs or newton expected for head"):
        fit_rectifier(inputs, options_of(optimizer="sgd"))
    wrong = replace(inputs, center=GivenHead(weight=torch.ones(K, 3)))
    with pytest.raises(DataError, match=r"a weight of shape \(5, 4\) expected"):
        fit_rectifier(wrong, options_of(center="file"))
    lone = samples_of(
        inputs, torch.tensor([int((inputs.labels == k).nonzero()[0]) for k in range(K)])
    )
    with pytest.raises(DataError, match="ncm: a class with two samples or more expected"):
        fit_rectifier(lone, options_of("ncm"))
    for option, value in (("tau", 1e9), ("scale", 1e308)):
        with pytest.raises(ConfigError, match=f"{option}: a number"):
            options_of(**{option: value})
    with pytest.raises(ConfigError, match="l2: 0 or at least 1e-14 expected for head, got 1e-16"):
        fit_rectifier(inputs, options_of(l2=1e-16))


@pytest.mark.parametrize("factor", [1e-30, 1e-22, 1e20, 1e30])
@pytest.mark.parametrize("method", ["head", "ncm", "gda"])
def test_lengths_beyond_a_square_of_float32_change_nothing(method, factor):
    inputs = make_head_inputs(dtype=torch.float32)
    scaled = replace(inputs, features=factor * inputs.features)
    chosen = options_of(method, normalise="unit")
    one, other = (fit_rectifier(each, chosen).rectifier for each in (inputs, scaled))
    torch.testing.assert_close(
        one.apply(None, inputs.features), other.apply(None, scaled.features), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("factor", [1e-25, 1e18])
@pytest.mark.parametrize("method", ["head", "ncm", "gda"])
def test_features_that_leave_the_range_are_refused_by_name(method, factor):
    inputs = make_head_inputs(dtype=torch.float32)
    scaled = replace(inputs, features=factor * inputs.features)
    with pytest.raises(DataError, match=r"features: rows of a length from 1e-10 to 1e.10 expected"):
        fit_rectifier(scaled, options_of(method, normalise="none"))


def test_features_whose_deviation_has_no_inverse_are_refused():
    inputs = make_head_inputs(dtype=torch.float32)
    scaled = replace(inputs, features=1e-39 * inputs.features)
    with pytest.raises(DataError, match="features: deviations that float32 has an inverse of"):
        fit_rectifier(scaled, options_of(normalise="standard"))


def without_direction(inputs, name):
    if name == "zeros":
        return replace(inputs, features=torch.zeros_like(inputs.features))
    if name == "one row":
        return replace(inputs, features=inputs.features[:, :1].expand_as(inputs.features) + 0.1)
    return replace(inputs, center=GivenHead(weight=torch.zeros(K, 4)))


@pytest.mark.parametrize(
    ("name", "center"),
    [
        ("zeros", "class-means"),
        ("zeros", "gda"),
        ("one row", "class-means"),
        ("a matrix of zeros", "file"),
    ],
)
def test_a_centre_that_tells_no_class_from_another(name, center):
    inputs = without_direction(make_head_inputs(num_views=1, dtype=torch.float64), name)
    with pytest.raises(DataError, match=f"center: classes that differ expected in {center}"):
        fit_rectifier(inputs, options_of(center=center, normalise="none"))
    chosen = options_of()
    tuning = tune(
        inputs, inputs, chosen, source="cross-validation", options=TuningOptions(num_folds=2)
    )
    assert tuning.chosen.settings.center == "zero"
    assert all(np.isfinite(point.score) for point in tuning.grid)
    assert fit_rectifier(inputs, tuning.chosen.settings).status is FitStatus.CONVERGED


def test_a_covariance_without_an_inverse_is_said():
    inputs = make_head_inputs(num_samples=30, num_features=100, dtype=torch.float64)
    found = {
        shrinkage: fit_rectifier(inputs, options_of("gda", shrinkage=shrinkage, scale=1.0)).warnings
        for shrinkage in (0.0, 0.1)
    }
    assert any("has no inverse" in each for each in found[0.0])
    assert not any("has no inverse" in each for each in found[0.1])


def test_features_of_one_mean_are_said():
    inputs = without_direction(make_head_inputs(), "zeros")
    fit = fit_rectifier(inputs, options_of("ncm"))
    assert any("same mean" in each for each in fit.warnings)


def test_a_class_that_a_head_leaves_out_stays_out_under_tau_norm():
    """Logits of such a head, stacked: without its bias the class would be in again."""
    inputs = without_class(make_head_inputs(), 2)
    head = fit_rectifier(inputs, options_of()).rectifier
    stacked = replace(
        inputs,
        logits=head.apply(None, inputs.features),
        weight_norm=head.weight.norm(dim=1),
        weight=head.weight,
        bias=head.bias,
    )
    for tau in (0.5, 1.0, 2.0):
        chosen = preset_settings("default", method="tau-norm", tau=tau)
        found = fit_rectifier(stacked, chosen).rectifier.apply(stacked.logits)
        assert float(found[..., 2].max()) < -1000


def test_a_centre_file_of_text_is_refused(tmp_path):
    np.save(tmp_path / "names.npy", np.full((K, 4), "cat"))
    with pytest.raises(DataError, match=r"names\.npy: numbers expected in weight, got <U3"):
        read_center(tmp_path / "names.npy", K, 4)
