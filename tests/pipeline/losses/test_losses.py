"""Training losses against values by hand, naive formulas in float64, and their exact limits."""

import math

import numpy as np
import pytest
import torch

from marr_pipeline.losses import LOSSES
from marr_pipeline.losses.balanced_softmax import balanced_softmax
from marr_pipeline.losses.equalization import equalization
from marr_pipeline.losses.focal import focal
from marr_pipeline.losses.lade import lade
from marr_pipeline.losses.ldam import ldam, ldam_drw
from marr_pipeline.losses.plain import softmax
from marr_pipeline.losses.reweighting import (
    class_balanced,
    class_balanced_weighting,
    effective_number_weights,
)
from marr_pipeline.losses.seesaw import seesaw

COUNTS = torch.tensor([50.0, 10.0, 2.0, 4.0], dtype=torch.float64)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(7, 4, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.tensor([0, 0, 1, 2, 3, 0, 1])


def picked(values, labels):
    return values[torch.arange(len(labels)), labels]


def naive_softmax(logits, labels):
    shares = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
    return -torch.log(picked(shares, labels))


def naive_binary(logits, labels, gamma):
    target = torch.eye(logits.shape[1], dtype=logits.dtype)[labels]
    true = torch.where(target == 1, torch.sigmoid(logits), 1 - torch.sigmoid(logits))
    return ((1 - true) ** gamma * -torch.log(true)).sum(1)


def naive_cbw(logits, labels):
    weights = len(COUNTS) / COUNTS / (1 / COUNTS).sum()
    return (weights[labels] * naive_softmax(logits, labels)).mean()


def cui_weights(beta):
    weights = (1 - beta) / (1 - beta**COUNTS)
    return weights * len(COUNTS) / weights.sum()


def naive_focal(logits, labels, gamma):
    losses = naive_softmax(logits, labels)
    return ((1 - torch.exp(-losses)) ** gamma * losses).mean()


def naive_ldam(logits, labels, weights=None):
    margins = 0.5 * COUNTS**-0.25 / (COUNTS**-0.25).max()
    shifted = logits - 30 * torch.eye(4, dtype=logits.dtype)[labels] * margins
    losses = naive_softmax(shifted, labels)
    if weights is None:
        return losses.mean()
    return (weights[labels] * losses).sum() / weights[labels].sum()


def naive_lade(logits, labels, alpha, lam):
    prior = COUNTS / COUNTS.sum()
    regulariser = 0.0
    for label in range(4):
        own = logits[labels == label, label].mean()
        bound = torch.log(torch.exp(logits[:, label] - prior[label].log() - math.log(4)).mean())
        regulariser -= prior[label] * (own - bound - lam * bound**2)
    return naive_softmax(logits + torch.log(COUNTS), labels).mean() + alpha * regulariser


def naive_seesaw(logits, labels, p, q):
    probabilities = torch.softmax(logits.detach(), 1)
    losses = []
    for row, label in enumerate(labels.tolist()):
        factors = []
        for other in range(4):
            mitigation = min(1.0, float(COUNTS[other] / COUNTS[label]) ** p)
            ratio = float(probabilities[row, other]) / max(float(probabilities[row, label]), 0.01)
            factors.append(1.0 if other == label else mitigation * max(1.0, ratio) ** q)
        terms = torch.tensor(factors, dtype=logits.dtype) * torch.exp(logits[row])
        losses.append(-torch.log(terms[label] / terms.sum()))
    return torch.stack(losses).mean()


CASES = {
    "softmax": (softmax, {}, lambda x, y: naive_softmax(x, y).mean()),
    "smoothed": (
        softmax,
        {"label_smoothing": 0.2},
        lambda x, y: 0.8 * naive_softmax(x, y).mean() - 0.2 * torch.log(torch.softmax(x, 1)).mean(),
    ),
    "cbw": (class_balanced_weighting, {}, naive_cbw),
    "class-balanced": (
        class_balanced,
        {"beta": 0.9},
        lambda x, y: (cui_weights(0.9)[y] * naive_softmax(x, y)).mean(),
    ),
    "class-balanced sigmoid": (
        class_balanced,
        {"beta": 0.9, "form": "sigmoid"},
        lambda x, y: (cui_weights(0.9)[y] * naive_binary(x, y, 0)).mean(),
    ),
    "class-balanced focal": (
        class_balanced,
        {"beta": 0.9, "form": "focal", "gamma": 0.5},
        lambda x, y: (cui_weights(0.9)[y] * naive_binary(x, y, 0.5)).mean(),
    ),
    "focal": (focal, {"gamma": 1.5}, lambda x, y: naive_focal(x, y, 1.5)),
    "focal sigmoid": (
        focal,
        {"form": "sigmoid", "gamma": 2.0},
        lambda x, y: naive_binary(x, y, 2).mean(),
    ),
    "ldam": (ldam, {}, naive_ldam),
    "ldam-drw, weighted": (
        ldam_drw,
        {"beta": 0.9, "defer_until": 0.5},
        lambda x, y: naive_ldam(x, y, cui_weights(0.9)),
    ),
    "ldam-drw, not yet": (ldam_drw, {"beta": 0.9, "defer_until": 0.6}, naive_ldam),
    "balanced-softmax": (
        balanced_softmax,
        {},
        lambda x, y: naive_softmax(x + torch.log(COUNTS), y).mean(),
    ),
    "lade": (lade, {"alpha": 0.3, "lam": 0.2}, lambda x, y: naive_lade(x, y, 0.3, 0.2)),
    "seesaw": (seesaw, {"p": 0.8, "q": 2.0}, lambda x, y: naive_seesaw(x, y, 0.8, 2.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_those_of_the_naive_formula(name, batch):
    loss, options, naive = CASES[name]
    logits, labels = batch
    value = loss(logits, labels, class_counts=COUNTS, progress=0.5, **options)
    expected = naive(logits, labels)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, logits)
    (reference,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, reference, rtol=1e-9, atol=1e-12)


def test_values_by_hand():
    """Two classes of 3 and 1 images, logits (ln 3, 0): P = (3/4, 1/4)."""
    logits = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    counts = torch.tensor([3.0, 1.0], dtype=torch.float64)

    def value(name, label, **options):
        loss = LOSSES[name].loss
        chosen = torch.tensor([label])
        return loss(logits, chosen, class_counts=counts, progress=0.0, **options).item()

    assert value("softmax", 1) == pytest.approx(math.log(4))
    assert value("cbw", 1) == pytest.approx(1.5 * math.log(4))
    assert value("cbw", 0) == pytest.approx(0.5 * math.log(4 / 3))
    assert value("focal", 1) == pytest.approx((3 / 4) ** 2 * math.log(4))
    assert value("focal", 0) == pytest.approx((1 / 4) ** 2 * math.log(4 / 3))
    assert value("balanced-softmax", 1) == pytest.approx(math.log(10))
    # 1 - beta^3 over 1 - beta at beta = 1/2 is 7/4: weights 4/7 and 1, scaled to 8/11 and 14/11.
    assert value("class-balanced", 1, beta=0.5) == pytest.approx(14 / 11 * math.log(4))
    # M = (1, 1/3^0.8 for the rarer), C = (3/4 over 1/4)^2 = 9 for the commoner.
    assert value("seesaw", 1) == pytest.approx(math.log(1 + 9 * 3))
    assert value("seesaw", 0) == pytest.approx(math.log(1 + 3**-0.8 / 3))
    # Margins 15 for the rarer and 15 / 3^(1/4) for the commoner.
    assert value("ldam", 1) == pytest.approx(math.log(1 + 3 * math.exp(15)))
    assert value("ldam", 0) == pytest.approx(math.log(1 + math.exp(15 * 3**-0.25) / 3))


LIMITS = {
    "cbw of equal counts": (class_balanced_weighting, {}, True),
    "balanced softmax of equal counts": (balanced_softmax, {}, True),
    "balanced softmax, tau 0": (balanced_softmax, {"tau": 0.0}, False),
    "class-balanced, beta 0": (class_balanced, {"beta": 0.0}, False),
    "focal, gamma 0": (focal, {"gamma": 0.0}, False),
    "equalization, threshold 0": (equalization, {"relative_threshold": 0.0}, False),
    "equalization, probability 0": (equalization, {"probability": 0.0}, False),
    "seesaw, p = q = 0": (seesaw, {"p": 0.0, "q": 0.0}, False),
    "ldam, margin 0": (ldam, {"max_margin": 0.0}, False),
    "lade, alpha 0, equal counts": (lade, {"alpha": 0.0}, True),
}


@pytest.mark.parametrize("name", LIMITS)
def test_plain_cross_entropy_is_its_limit(name, batch):
    loss, options, is_of_equal_counts = LIMITS[name]
    counts = torch.full_like(COUNTS, 5.0) if is_of_equal_counts else COUNTS
    value = loss(*batch, class_counts=counts, progress=0.0, **options)
    assert value.item() == pytest.approx(torch.nn.functional.cross_entropy(*batch).item())


def test_limits_that_are_other_losses(batch):
    def value(loss, **options):
        return loss(*batch, class_counts=COUNTS, progress=0.0, **options).item()

    binary = naive_binary(*batch, 0).mean().item()
    assert value(class_balanced, form="sigmoid", beta=0.0) == pytest.approx(binary)
    assert value(focal, form="sigmoid", gamma=0.0) == pytest.approx(binary)
    assert value(class_balanced, form="focal", gamma=2.0, beta=0.0) == pytest.approx(
        value(focal, form="sigmoid", gamma=2.0)
    )
    assert value(lade, alpha=0.0) == pytest.approx(value(balanced_softmax))
    nearly_one = effective_number_weights(COUNTS, 1 - 1e-9)
    torch.testing.assert_close(nearly_one, effective_weights_of_inverse(), rtol=1e-6, atol=0)


def effective_weights_of_inverse():
    return len(COUNTS) / COUNTS / (1 / COUNTS).sum()


@pytest.mark.parametrize("method", LOSSES)
@pytest.mark.parametrize("scale", [1e-3, 1e2, 1e4])
def test_extreme_logits_and_absent_classes_give_finite_losses_and_gradients(method, scale):
    logits = torch.tensor([[1.0, -1.0, 0.5, 0.0], [-1.0, 1.0, 0.0, -0.5]]) * scale
    logits.requires_grad_()
    counts = torch.tensor([1000.0, 3.0, 0.0, 2.0])
    value = LOSSES[method].loss(logits, torch.tensor([1, 0]), class_counts=counts, progress=0.9)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_a_detached_modulator_is_a_weight(batch):
    logits, labels = batch
    value = focal(logits, labels, class_counts=COUNTS, progress=0.0, detach_modulator=True)
    losses = naive_softmax(logits, labels)
    weights = ((1 - torch.exp(-losses)) ** 2).detach()
    expected = torch.autograd.grad((weights * losses).mean(), logits)
    torch.testing.assert_close(torch.autograd.grad(value, logits), expected)


def test_equalization_drops_rare_classes_that_are_not_the_label(batch):
    """With probability 1 only classes of at least half the mean share, and the label, are left."""
    logits, labels = batch
    options = {"probability": 1.0, "relative_threshold": 0.5}
    value = equalization(logits, labels, class_counts=COUNTS, progress=0.0, **options)
    expected = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        left = [k for k in range(4) if COUNTS[k] >= 66 * 0.5 / 4 or k == label]
        expected.append(row[left].logsumexp(0) - row[label])
    assert value.item() == pytest.approx(torch.stack(expected).mean().item())


def test_equalization_drops_with_its_probability():
    torch.manual_seed(0)
    logits = torch.zeros(20_000, 4, dtype=torch.float64)
    labels = torch.zeros(20_000, dtype=torch.int64)
    # Classes 2 and 3 are rare: of 4 equal logits, 2, 3 or 4 are left.
    value = equalization(logits, labels, class_counts=COUNTS, progress=0.0, probability=0.7)
    chances = {2: 0.7**2, 3: 2 * 0.7 * 0.3, 4: 0.3**2}
    expected = sum(chance * math.log(left) for left, chance in chances.items())
    assert value.item() == pytest.approx(expected, abs=0.01)


def test_priors_are_those_that_the_logits_stand_for():
    counts = torch.tensor([100.0, 4.0], dtype=torch.float64)

    def prior(method, **options):
        return LOSSES[method].prior(counts, options)

    assert prior("softmax").tolist() == [100, 4]
    assert prior("sqrt").tolist() == [10, 2]
    assert prior("balanced-softmax", tau=0.5).tolist() == [10, 2]
    for method in ("cbs", "cbw", "lade"):
        assert prior(method).tolist() == [1, 1]
    weighted = prior("class-balanced", form="softmax", beta=0.9).numpy()
    effective = 1 - 0.9 ** np.array([100, 4])
    np.testing.assert_allclose(weighted[0] / weighted[1], 25 * effective[1] / effective[0])
    assert prior("class-balanced", form="focal", beta=0.9) is None
    for method in ("focal", "ldam", "ldam-drw", "equalization", "seesaw"):
        assert prior(method) is None
