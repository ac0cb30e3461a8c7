"""Weights of a sum of logits: against SciPy, at the bound, and where there is no minimum."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify import combination
from marr_pipeline.rectify.combination import CombinationLoss, fit_weights
from marr_pipeline.rectify.rows.source import StoredLogits


def draw(rng, *, rows=300, classes=6, signals=(1.5, 1.0), counts=None):
    """Logits of members that know the label by their signals, and the priors they stand for."""
    labels = rng.choice(classes, rows, p=counts)
    own = np.eye(classes)[labels]
    priors = np.log(rng.dirichlet(np.ones(classes) * 3, len(signals)))
    logits = [
        signal * own + rng.normal(size=(rows, classes)) + prior
        for signal, prior in zip(signals, priors, strict=True)
    ]
    return logits, priors, labels


def loss_of(problem):
    logits, priors, labels = problem
    sources = [StoredLogits(torch.from_numpy(each)) for each in logits]
    return CombinationLoss(sources, torch.from_numpy(priors), torch.from_numpy(labels))


def reference(problem):
    """F and its gradient as the formula says it."""
    logits, priors, labels = problem
    x = np.stack(logits) - priors[:, None]
    counts = np.bincount(labels)
    weight = 1 / ((counts > 0).sum() * counts[labels])
    rows = np.arange(len(labels))

    def function(a):
        total = np.tensordot(a, x, 1)
        shares = np.exp(total - logsumexp(total, axis=1, keepdims=True))
        loss = weight @ (logsumexp(total, axis=1) - total[rows, labels])
        excess = (shares * x).sum(2) - x[:, rows, labels]
        return loss, excess @ weight

    return function


@pytest.mark.parametrize(
    "signals", [(1.5, 1.0), (2.0, 0.2, 1.0), (1.5, -1.0), (1.0, -0.5, 0.7, -0.6, 0.1), (-1.0, -2.0)]
)
def test_the_weights_are_scipys(rng, signals):
    problem = draw(rng, signals=signals)
    found = fit_weights(loss_of(problem))
    count = len(signals)
    expected = minimize(
        reference(problem),
        np.full(count, 0.5),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * count,
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )
    assert found.status is FitStatus.CONVERGED
    np.testing.assert_allclose(found.theta, expected.x, atol=2e-5)
    assert found.loss <= expected.fun + 1e-12
    assert (found.theta >= 0).all()
    assert ((found.theta == 0) == (expected.x < 1e-6)).all()


def test_the_gradient_and_the_hessian_are_those_of_the_loss(rng):
    loss = loss_of(draw(rng, signals=(1.0, 0.5, 0.2)))
    at = torch.tensor([0.4, 0.7, 1.1], dtype=torch.float64)
    point = loss.evaluate(at, precise=True)
    sides = [
        [loss.evaluate(at + sign * step, precise=True) for sign in (1, -1)]
        for step in 1e-5 * torch.eye(3, dtype=torch.float64)
    ]
    slopes = torch.tensor([(up.value - down.value) / 2e-5 for up, down in sides], dtype=at.dtype)
    torch.testing.assert_close(point.gradient, slopes, rtol=1e-6, atol=1e-9)
    columns = [(up.gradient - down.gradient) / 2e-5 for up, down in sides]
    torch.testing.assert_close(loss.hessian(at), torch.stack(columns), rtol=1e-5, atol=1e-8)


def test_blocks_change_nothing(rng, monkeypatch):
    problem = draw(rng)
    whole = fit_weights(loss_of(problem))
    monkeypatch.setattr(combination, "BLOCK_NUMBERS", 12 * 7)
    assert torch.allclose(fit_weights(loss_of(problem)).theta, whole.theta, rtol=1e-9)


def test_a_rare_class_counts_as_much_as_a_common_one(rng):
    problem = draw(rng, classes=3, counts=[0.9, 0.08, 0.02])
    logits, priors, labels = problem
    twice = [np.concatenate([each, each[labels == 0]]) for each in logits]
    more = (twice, priors, np.concatenate([labels, labels[labels == 0]]))
    one, other = (fit_weights(loss_of(each)).theta for each in (problem, more))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_a_cache_and_its_copy_share_a_weight(rng):
    logits, priors, labels = draw(rng, signals=(1.5,))
    one = fit_weights(loss_of((logits, priors, labels)))
    two = fit_weights(loss_of((logits * 2, np.concatenate([priors] * 2), labels)))
    assert two.status is FitStatus.CONVERGED
    assert float(two.theta.sum()) == pytest.approx(float(one.theta[0]), rel=1e-6)


def test_rows_that_are_told_apart_have_no_best_weights(rng):
    found = fit_weights(loss_of(draw(rng, rows=40, signals=(30.0, 1.0))))
    assert found.status is FitStatus.UNBOUNDED
