from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from problems import make_inputs, rows_of, without_class
from reference import reference_class_weights, reference_objective, reference_optimum

from marr_pipeline.checks.fits import unsolved_fits
from marr_pipeline.errors import FitError
from marr_pipeline.optim import newton
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.affine import build_problem, build_ridge
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.settings import PRESETS

PAPER = PRESETS["paper"]
EXACT = replace(PAPER, tolerance=1e-12)


def probabilities(rectifier, inputs):
    logits, _ = rows_of(inputs)
    return torch.softmax(rectifier.apply(logits), 1)


def test_the_certificate_is_that_of_the_returned_point(inputs):
    fit = fit_rectifier(inputs, replace(PAPER, tolerance=1e-4, l2=1e-2))
    own = fit.rectifier.own
    logits, labels = (array.numpy() for array in rows_of(inputs))
    value, omega_gradient, beta_gradient = reference_objective(
        logits.astype(np.float64),
        labels,
        reference_class_weights(inputs.class_counts.tolist(), 1.2),
        inputs.weight_norm.numpy(),
        own["omega"].numpy(),
        own["beta"].numpy(),
        l2=1e-2,
        center=(0.0, 0.0),
        reduction="plain",
    )
    norm = np.sqrt((omega_gradient**2).sum() + (beta_gradient**2).sum())
    assert fit.loss == pytest.approx(value, rel=1e-12)
    assert fit.gradient_norm == pytest.approx(norm, rel=1e-6)
    assert fit.gap_bound == pytest.approx(norm**2 / 2e-2, rel=1e-6)
    exact = fit_rectifier(inputs, replace(EXACT, l2=1e-2))
    assert 0 <= fit.loss - exact.loss <= fit.gap_bound <= 1e-4


def test_weights_are_of_the_training_counts_and_the_pull_is_to_the_priors_own(inputs):
    """Phase one may have seen other shares than those that the loss weights are made of."""
    prior = torch.tensor([30, 70, 110, 20, 5, 60, 45])
    seen = replace(inputs, prior_counts=prior)
    settings = replace(EXACT, center="logit-adjustment", gamma=0.7, l2=0.05, reduction="weighted")
    own = fit_rectifier(seen, settings).rectifier.own
    logits, labels = (array.numpy() for array in rows_of(seen))
    norm, log_shares = seen.weight_norm.numpy(), np.log(prior.numpy() / prior.sum().item())
    omega, beta, _ = reference_optimum(
        logits.astype(np.float64),
        labels,
        reference_class_weights(seen.class_counts.tolist(), 0.7),
        norm,
        l2=0.05,
        center=(1.0, (log_shares.mean() - log_shares) / norm),
        reduction="weighted",
    )
    np.testing.assert_allclose(own["omega"], omega, atol=1e-6)
    np.testing.assert_allclose(own["beta"], beta, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["lbfgs", "newton"])
def test_stationarity_of_the_unregularised_optimum(inputs, optimizer):
    """methods.md, section 3: weighted predicted marginals and logits match the labels'."""
    fit = fit_rectifier(inputs, replace(PAPER, l2=0.0, tolerance=1e-10, optimizer=optimizer))
    assert fit.status is FitStatus.CONVERGED
    assert fit.gap_bound is None
    logits, labels = rows_of(inputs)
    weights = torch.from_numpy(reference_class_weights(inputs.class_counts.tolist(), 1.2))
    weighted = weights[labels, None] * probabilities(fit.rectifier, inputs)
    rows = torch.bincount(labels, minlength=7)
    own = torch.zeros(7).double()
    own.index_add_(0, labels, logits.gather(1, labels[:, None])[:, 0].double())
    torch.testing.assert_close(weighted.sum(0), rows * weights, rtol=0, atol=1e-6)
    torch.testing.assert_close((weighted * logits).sum(0), weights * own, rtol=0, atol=1e-6)
    own_numbers = fit.rectifier.own
    assert float(own_numbers["beta"] @ own_numbers["weight_norm"]) == pytest.approx(0, abs=1e-9)


def test_without_a_ridge_the_norms_do_not_matter(inputs):
    """MARR without ridge is class-weighted vector scaling."""
    settings = replace(PAPER, l2=0.0, tolerance=1e-9)
    ours = fit_rectifier(inputs, settings)
    scaling = fit_rectifier(replace(inputs, weight_norm=torch.ones(7).double()), settings)
    torch.testing.assert_close(
        probabilities(ours.rectifier, inputs),
        probabilities(scaling.rectifier, inputs),
        rtol=0,
        atol=1e-5,
    )


def test_gamma_zero_does_nothing_to_a_stationary_head():
    """methods.md, section 3: (1, 0) is stationary if the logits are calibrated by class."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(1, 4000, 5, generator=generator)
    once = fit_rectifier(
        FitInputs(
            logits=logits,
            labels=torch.multinomial(torch.softmax(logits[0], 1), 1, generator=generator)[:, 0],
            weight_norm=torch.ones(5).double(),
            class_counts=torch.full((5,), 800),
            prior_counts=torch.full((5,), 800),
        ),
        replace(PAPER, l2=0.0, gamma=0.0, tolerance=1e-9),
    )
    torch.testing.assert_close(once.rectifier.scale, torch.ones(5).double(), rtol=0, atol=0.1)
    torch.testing.assert_close(once.rectifier.shift, torch.zeros(5).double(), rtol=0, atol=0.1)


def test_the_paper_online_loop_and_the_cached_sgd_take_the_same_steps():
    """Algorithm 1 with the frozen network in every step, against the fit on its cached logits."""
    generator = torch.Generator().manual_seed(1)
    network = torch.nn.Linear(6, 4).requires_grad_(False)
    images = torch.randn(256, 6, generator=generator)
    labels = torch.arange(4).repeat_interleave(torch.tensor([200, 40, 12, 4]))
    counts = torch.bincount(labels)
    inputs = FitInputs(
        logits=network(images)[None],
        labels=labels,
        weight_norm=network.weight.norm(dim=1).double(),
        class_counts=counts,
        prior_counts=counts,
    )
    fit = fit_rectifier(inputs, replace(PAPER, optimizer="sgd", tolerance=1e-9))

    omega = torch.ones(4, dtype=torch.float64, requires_grad=True)
    beta = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    weights = torch.from_numpy(reference_class_weights(counts.tolist(), 1.2))
    optimizer = torch.optim.SGD([omega, beta], lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2000)
    for _ in range(2000):  # the batch of 512 holds all 256 images, so order is no matter
        logits = network(images).double()
        rectified = omega * logits + beta * inputs.weight_norm
        losses = torch.nn.functional.cross_entropy(rectified, labels, reduction="none")
        optimizer.zero_grad()
        torch.autograd.backward((weights[labels] * losses).mean())
        optimizer.step()
        schedule.step()
    online = Rectifier(scale=omega.detach(), shift=(beta * inputs.weight_norm).detach())
    torch.testing.assert_close(
        probabilities(fit.rectifier, inputs), probabilities(online, inputs), rtol=0, atol=1e-4
    )
    assert fit.status is FitStatus.SCHEDULE_END


def test_an_absent_class_and_a_dead_row_are_bearable_and_named():
    inputs = without_class(make_inputs(), 3)
    weight_norm = torch.where(torch.arange(7) == 5, 0.0, inputs.weight_norm)
    inputs = replace(inputs, weight_norm=weight_norm)
    for center in ("zero", "identity", "logit-adjustment"):
        fit = fit_rectifier(inputs, replace(EXACT, center=center))
        assert fit.status is FitStatus.CONVERGED
        assert float(fit.rectifier.own["beta"][5]) == 0.0
        assert any("weight norm of 0" in text for text in fit.warnings)


def test_newton_by_conjugate_gradients_reaches_the_same_optimum(inputs, monkeypatch):
    full = fit_rectifier(inputs, replace(EXACT, optimizer="newton"))
    monkeypatch.setattr(newton, "FULL_UP_TO", 0)
    conjugate = fit_rectifier(inputs, replace(EXACT, optimizer="newton"))
    assert conjugate.loss == pytest.approx(full.loss, abs=1e-11)


def test_temperature_is_the_best_shared_scale(inputs):
    fit = fit_rectifier(inputs, replace(EXACT, method="temperature", l2=0.0, tolerance=1e-9))
    problem = build_problem(
        inputs, replace(EXACT, l2=0.0), METHODS["temperature"].family(inputs.weight_norm)
    )
    around = [float(fit.rectifier.scale[0]) + step for step in (-1e-3, 0.0, 1e-3)]
    values = [
        problem.evaluate(torch.tensor([s], dtype=torch.float64), precise=True).value for s in around
    ]
    assert values[1] < min(values[0], values[2])
    assert fit.rectifier.scale.unique().numel() == 1


def test_centers_lie_where_the_ridge_pulls_to(inputs):
    family = METHODS["marr"].family(inputs.weight_norm)
    huge = replace(EXACT, l2=1e6, gamma=0.0)
    for center in ("zero", "identity", "logit-adjustment"):
        settings = replace(huge, center=center)
        fit = fit_rectifier(inputs, settings)
        theta = torch.cat([fit.rectifier.own["omega"], fit.rectifier.own["beta"]])
        expected = build_ridge(family, settings, inputs.log_prior).center
        torch.testing.assert_close(theta, expected, rtol=0, atol=1e-4)


def test_overflow_is_an_error_and_never_a_result():
    inputs = make_inputs(dtype=torch.float64)
    inputs.logits[0, 0, 0] = 1e308
    with pytest.raises(FitError, match="a finite loss expected"):
        fit_rectifier(replace(inputs, logits=inputs.logits * 10), EXACT)


@pytest.mark.parametrize(
    ("method", "optimizer"),
    [
        *product(("marr", "crt", "balanced-softmax-head"), ("lbfgs", "newton")),
        ("disalign", "lbfgs"),
    ],
)
def test_separable_rows_without_a_ridge_are_unbounded(separable_inputs, method, optimizer):
    settings = preset_settings("default", method=method, optimizer=optimizer)
    fit = fit_rectifier(separable_inputs, replace(settings, l2=0.0))
    assert fit.status is FitStatus.UNBOUNDED
    assert all(bool(each.isfinite().all()) for each in fit.rectifier.tensors().values())
    assert unsolved_fits({method: fit.rectifier}).sentence.startswith(f"No minimum: {method};")
    assert fit_rectifier(separable_inputs, settings).status is FitStatus.CONVERGED


def labels_drawn_from(logits, seed=0):
    """Labels (N,) of which softmax(logits) is the posterior."""
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize(("method", "scale"), [("bias", 1.0), ("bcts", 0.4)])
def test_calibration_finds_the_posterior_that_labels_were_drawn_from(method, scale):
    shift = torch.tensor([1.0, 0.3, 0.0, -0.4, -0.9], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn((40_000, 5), generator=generator, dtype=torch.float64)
    labels = labels_drawn_from(scale * logits + shift)
    counts = torch.bincount(labels)
    inputs = FitInputs(
        logits=logits[None],
        labels=labels,
        weight_norm=torch.ones(5, dtype=torch.float64),
        class_counts=counts,
        prior_counts=counts,
    )
    fit = fit_rectifier(inputs, preset_settings("default", method=method))
    assert fit.status is FitStatus.CONVERGED
    np.testing.assert_allclose(fit.rectifier.scale, scale, atol=0.02)
    found = fit.rectifier.shift - fit.rectifier.shift.mean()
    np.testing.assert_allclose(found, shift - shift.mean(), atol=0.06)


def test_shifts_alone_have_a_minimum_on_memorised_rows():
    """There the predicted shares are those of the rows, though every row is on its own side."""
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    inputs = FitInputs(
        logits=4 * torch.eye(3, dtype=torch.float64)[labels][None],
        labels=labels,
        weight_norm=torch.ones(3, dtype=torch.float64),
        class_counts=torch.tensor([3, 2, 1]),
        prior_counts=torch.tensor([3, 2, 1]),
    )
    for optimizer in ("lbfgs", "newton"):
        settings = preset_settings("default", method="bias", optimizer=optimizer)
        fit = fit_rectifier(inputs, settings)
        assert fit.status is FitStatus.CONVERGED
        shares = probabilities(fit.rectifier, inputs).mean(0)
        np.testing.assert_allclose(shares, [3 / 6, 2 / 6, 1 / 6], atol=1e-5)
    bcts = fit_rectifier(inputs, preset_settings("default", method="bcts"))
    assert bcts.status is FitStatus.UNBOUNDED
