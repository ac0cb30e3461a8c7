import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.prior.estimate import target_prior
from marr_pipeline.rectify.prior.match import matching_shift
from marr_pipeline.rectify.prior.mixture import PRECISE_UP_TO, Mixture

UNIFORM = {k: torch.full((k,), 1.0 / k).double().log() for k in (2, 3, 4, 5, 100)}


def known_rows(rng, shares, num_rows, *, width=3, spread=1.0):
    """Logits whose probabilities are right for balanced classes, of rows drawn in `shares`."""
    centres = spread * rng.normal(size=(len(shares), width))
    labels = rng.choice(len(shares), size=num_rows, p=shares)
    features = centres[labels] + rng.normal(size=(num_rows, width))
    return torch.from_numpy(features @ centres.T - 0.5 * (centres**2).sum(1))


def log_likelihood(logits, shares):
    """f of rows whose logits stand for balanced classes, up to a constant."""
    return float((logits.softmax(1) @ shares).log().mean())


def expectation_maximisation(logits, steps):
    likelihood, shares = logits.softmax(1), torch.full((logits.shape[1],), 1.0 / logits.shape[1])
    shares = shares.double()
    for _ in range(steps):
        posterior = likelihood * shares
        shares = (posterior / posterior.sum(1, keepdim=True)).mean(0)
    return shares


@pytest.mark.parametrize("shares", [[0.6, 0.3, 0.1, 0.0], [0.25] * 4, [0.97, 0.01, 0.01, 0.01]])
def test_shares_are_those_that_scipy_finds(rng, shares):
    logits = known_rows(rng, shares, 400)
    likelihood = logits.softmax(1).numpy()
    judge = minimize(
        lambda q: -np.log(likelihood @ q).mean(),
        np.full(4, 0.25),
        jac=lambda q: -(likelihood / (likelihood @ q)[:, None]).mean(0),
        bounds=[(1e-12, 1)] * 4,
        constraints={"type": "eq", "fun": lambda q: q.sum() - 1, "jac": lambda q: np.ones(4)},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    found = target_prior(logits, UNIFORM[4], tolerance=1e-10)
    np.testing.assert_allclose(found.shares, judge.x, atol=2e-5)
    assert found.is_solved


def test_a_plain_em_of_many_steps_comes_to_the_same_shares_and_no_higher(rng):
    shares = np.append(rng.dirichlet(np.full(70, 0.3)), np.zeros(30))
    logits = known_rows(rng, shares, 500, width=10)
    plain = expectation_maximisation(logits, 3000)
    found = target_prior(logits, UNIFORM[100])
    assert found.is_solved
    assert log_likelihood(logits, plain) <= log_likelihood(logits, found.shares) + 1e-6
    assert float((found.shares - plain).abs().sum()) < 0.01
    rough = target_prior(logits, UNIFORM[100], tolerance=1e-2)
    gained = log_likelihood(logits, found.shares) - log_likelihood(logits, rough.shares)
    assert 0 <= gained <= rough.gap_bound <= 1e-2


def test_another_prior_of_the_same_probabilities_changes_nothing(rng):
    logits = known_rows(rng, [0.5, 0.3, 0.2], 500)
    prior = torch.tensor([0.7, 0.2, 0.1]).double().log()
    one, other = target_prior(logits, UNIFORM[3]), target_prior(logits + prior, prior)
    torch.testing.assert_close(one.shares, other.shares, atol=1e-3, rtol=0)


def test_intervals_hold_the_truth_in_95_of_100_draws(rng):
    shares, draws = np.array([0.5, 0.3, 0.12, 0.06, 0.02]), 200
    held = np.zeros(5)
    for _ in range(draws):
        found = target_prior(known_rows(rng, shares, 500, width=5), UNIFORM[5])
        held += (found.low.numpy() <= shares) & (shares <= found.high.numpy())
    # Of 200 draws at 95 %, three standard deviations are 4.6 %.
    np.testing.assert_allclose(held / draws, 0.95, atol=0.05)
    assert 0.93 <= held.mean() / draws <= 0.97


def test_standard_errors_are_those_of_a_bootstrap(rng):
    logits = known_rows(rng, [0.5, 0.3, 0.2], 1000)
    picks = rng.integers(1000, size=(300, 1000))
    drawn = torch.stack([target_prior(logits[pick], UNIFORM[3]).shares for pick in picks])
    found = target_prior(logits, UNIFORM[3])
    torch.testing.assert_close(found.standard_error, drawn.std(0), rtol=0.15, atol=0)


def test_certain_rows_are_counted(rng):
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    for size in (1e2, 1e4, 1e30):
        found = target_prior(size * torch.eye(4).double()[labels], UNIFORM[4])
        np.testing.assert_allclose(found.shares, [0.6, 0.3, 0.1, 0.0], atol=1e-9)
        error = np.sqrt(np.array([0.24, 0.21, 0.09]) / 100)
        np.testing.assert_allclose(found.standard_error[:3], error, rtol=1e-6)
        assert found.effective_rows == pytest.approx(100)
        assert found.high[3] == pytest.approx(0.03)  # of 100 rows none: the rule of three
    assert found.rows_behind.tolist() == pytest.approx([60, 30, 10, 0])


def test_one_row_and_rows_that_tell_nothing():
    alone = target_prior(torch.tensor([[3.0, 0.0, -1.0]]), UNIFORM[3])
    assert alone.shares.tolist() == [1.0, 0.0, 0.0]
    assert (float(alone.low[0]), float(alone.high[1])) == (0.0, 1.0)
    flat = target_prior(torch.zeros(50, 2), UNIFORM[2])
    assert (flat.low.tolist(), flat.high.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    assert flat.effective_rows < 1e-6


@pytest.mark.parametrize("kind", ["numpy", "float16", "float32", "views"])
def test_rows_of_any_kind(rng, kind):
    logits = known_rows(rng, [0.5, 0.3, 0.2], 300)
    expected = target_prior(logits, UNIFORM[3])
    if kind == "views":
        given = torch.stack([logits, logits])
    else:
        given = logits.numpy() if kind == "numpy" else logits.to(getattr(torch, kind))
    found = target_prior(given, UNIFORM[3])
    assert found.num_samples == 300
    torch.testing.assert_close(found.shares, expected.shares, atol=2e-3, rtol=0)
    torch.testing.assert_close(found.standard_error, expected.standard_error, rtol=1e-2, atol=0)


def test_threads_change_no_bit(rng, monkeypatch):
    logits = known_rows(rng, rng.dirichlet(np.ones(100)), PRECISE_UP_TO // 100 + 1, width=8)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=threads: count)
        found.append((target_prior(logits, UNIFORM[100]), matching_shift(logits, PRIOR)))
    for estimate, shift in found[1:]:
        for name in ("shares", "standard_error", "low", "high"):
            assert torch.equal(getattr(estimate, name), getattr(found[0][0], name))
        assert torch.equal(shift, found[0][1])


PRIOR = torch.linspace(1, 2, 100).double() / torch.linspace(1, 2, 100).double().sum()


@pytest.mark.parametrize("classes", [None, [0, 2]])
def test_gradient_and_hessian_match_differences(rng, classes):
    mixture = Mixture(known_rows(rng, [0.4, 0.3, 0.3], 100), UNIFORM[3])
    shares, step = torch.tensor([0.5, 0.2, 0.3]).double(), 1e-6
    _, gradient = mixture.evaluate(shares)
    for k in range(3):
        there = torch.eye(3).double()[k] * step
        high, low = mixture.evaluate(shares + there), mixture.evaluate(shares - there)
        assert gradient[k] == pytest.approx((high[0] - low[0]) / (2 * step), rel=1e-6)
        if classes is None or k in classes:
            chosen = None if classes is None else torch.tensor(classes)
            row = mixture.hessian(shares, chosen)[k if classes is None else classes.index(k)]
            expected = ((low[1] - high[1]) / (2 * step))[classes or [0, 1, 2]]
            torch.testing.assert_close(row, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("logits", "prior", "message"),
    [
        (torch.zeros(0, 2), UNIFORM[2], r"got \(0, 2\)"),
        (torch.zeros(5, 3), UNIFORM[2], r"got \(5, 3\) and \(2,\)"),
        (torch.zeros(5), UNIFORM[2], "logits"),
        (torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]), UNIFORM[2], "1 of 2 rows"),
        (torch.tensor([[0.0, -float("inf")]]), UNIFORM[2], "1 of 1 rows"),
        (torch.zeros(5, 2), torch.tensor([0.0, -float("inf")]), "half a sample"),
    ],
)
def test_rows_that_are_none_are_refused(logits, prior, message):
    with pytest.raises(DataError, match=message):
        target_prior(logits, prior)
