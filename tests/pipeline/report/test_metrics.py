import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import hmean
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from marr_pipeline.report import scores as scores_module
from marr_pipeline.report.metrics import confusion_counts, measure, reliability
from marr_pipeline.report.scores import (
    SampleScores,
    class_averages,
    rank_correlation,
    score_samples,
)
from marr_pipeline.report.tables import metrics_table

COUNTS = np.array([500, 100, 20, 19, 5])


def scored(logits, labels):
    """Scores of logits (N, K) as they are."""
    return score_samples(lambda rows: logits[rows].double(), labels, num_classes=logits.shape[1])


def random_scores(seed, num_samples=200, num_classes=5):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_samples, num_classes, generator=generator)
    labels = torch.randint(num_classes, (num_samples,), generator=generator)
    logits[torch.arange(num_samples), labels] += 1.5
    return logits, scored(logits, labels)


@given(st.integers(0, 10_000))
def test_counts_agree_with_scikit_learn(seed):
    _, scores = random_scores(seed, num_samples=30)
    metrics = measure(scores, COUNTS)
    present = np.unique(scores.labels)
    assert metrics.overall == pytest.approx(accuracy_score(scores.labels, scores.predicted))
    expected = f1_score(
        scores.labels, scores.predicted, labels=present, average="macro", zero_division=0
    )
    assert metrics.macro_f1 == pytest.approx(expected)
    matrix = confusion_matrix(scores.labels, scores.predicted, labels=range(5))
    assert np.array_equal(confusion_counts(scores, 5), matrix)


def test_scores_are_those_of_a_dense_softmax():
    logits, _ = random_scores(0)
    labels = torch.randint(5, (200,), generator=torch.Generator().manual_seed(9))
    found = scored(logits, labels)
    dense = log_softmax(logits.numpy().astype(np.float64), axis=1)
    assert np.array_equal(found.predicted, dense.argmax(1))
    np.testing.assert_allclose(found.confidence, np.exp(dense.max(1)))
    np.testing.assert_allclose(found.nll, -dense[np.arange(200), labels.numpy()])
    np.testing.assert_array_equal(found.own_logit, logits.numpy()[np.arange(200), labels.numpy()])


def test_scores_do_not_depend_on_the_blocks(monkeypatch):
    _, whole = random_scores(1)
    monkeypatch.setattr(scores_module, "BLOCK_LOGITS", 35)
    _, parts = random_scores(1)
    assert np.array_equal(whole.predicted, parts.predicted)
    np.testing.assert_array_equal(whole.nll, parts.nll)


@pytest.mark.parametrize("sizes", [(385, 479, 136), (131, 163, 71), (35, 35, 30), (0, 4, 1)])
def test_overall_is_the_size_weighted_mean_of_groups_on_a_balanced_split(sizes):
    """The identity of methods.md, section 1c, at the papers' sizes of groups and at an empty one.

    Each class is right as often as drawn for it, so the group means are known beforehand.
    """
    generator, per_class = np.random.default_rng(0), 40
    counts = generator.permutation(np.repeat((500, 50, 5), sizes))
    num_right = generator.integers(0, per_class + 1, len(counts))
    labels = np.repeat(np.arange(len(counts)), per_class)
    is_right = np.tile(np.arange(per_class), len(counts)) < num_right[labels]
    predicted = np.where(is_right, labels, (labels + 1) % len(counts))
    found = measure(SampleScores(labels, predicted, *np.full((3, len(labels)), 0.5)), counts)
    np.testing.assert_allclose(found.per_class, num_right / per_class)
    groups = np.array([found.many, found.medium, found.few])
    expected = [num_right[counts == n].sum() / per_class for n in (500, 50, 5)]
    np.testing.assert_allclose(np.nan_to_num(groups) * sizes, expected)
    assert found.overall == pytest.approx(np.nansum(groups * sizes) / len(counts))
    assert found.balanced == pytest.approx(found.overall)


def test_empty_is_not_zero():
    labels = np.array([0, 0, 1])
    scores = SampleScores(labels, np.array([0, 1, 1]), np.full(3, 0.9), np.ones(3), np.ones(3))
    metrics = measure(scores, np.array([500, 300, 50]))
    assert metrics.per_class[:2].tolist() == [0.5, 1.0]
    assert math.isnan(metrics.per_class[2])
    assert math.isnan(metrics.medium)  # its only class has no test sample
    assert math.isnan(metrics.few)  # there is no such class
    assert metrics.worst_class == 0.5
    assert metrics.balanced == 0.75  # of the two classes that have samples; 2 of 3 rows are right
    assert "-" in metrics_table({"softmax": metrics})


def test_calibration_error_of_hand_made_bins():
    # Bin of 0.95: one right of two, |0.5 - 0.95| x 2/4. Bin of 0.55: two right, |1 - 0.55| x 2/4.
    scores = SampleScores(
        np.array([0, 0, 0, 0]),
        np.array([0, 1, 0, 0]),
        np.array([0.95, 0.95, 0.55, 0.55]),
        np.ones(4),
        np.ones(4),
    )
    assert measure(scores, np.array([5, 5])).ece == pytest.approx(0.45)


def calibration_error(confidence, is_right):
    """Of bins [k / 15, (k + 1) / 15), the last one closed, sample by sample."""
    surplus = [0.0] * 15
    for value, right in zip(confidence, is_right, strict=True):
        surplus[sum(value >= k / 15 for k in range(1, 15))] += right - value
    return sum(map(abs, surplus)) / len(confidence)


@pytest.mark.parametrize("where", ["anywhere", "on the edges", "beside the edges", "sure"])
def test_the_calibration_error_is_that_of_a_slow_reference(where, rng):
    """Neighbouring bins are wrong in opposite ways, so that a sample in the other one tells."""
    edges = np.arange(15) / 15
    middle = edges + 1 / 30
    confidence = {
        "anywhere": rng.uniform(0, 1, 900),
        "on the edges": np.concatenate([edges, *[middle] * 9, *[[1.0]] * 3]),
        "beside the edges": np.concatenate([edges[1:] - 1e-9, edges[1:] + 1e-9, middle]),
        "sure": np.array([1.0, 1.0, np.nextafter(1, 0), 14 / 15, 0.999]),
    }[where]
    is_right = np.array([sum(value >= k / 15 for k in range(15)) % 2 for value in confidence])
    labels = rng.integers(0, 3, len(confidence))
    predicted = np.where(is_right, labels, (labels + 1) % 3)
    scores = SampleScores(labels, predicted, confidence, *np.zeros((2, len(confidence))))
    found = measure(scores, np.full(3, 5)).ece
    assert found == pytest.approx(calibration_error(confidence, is_right), abs=1e-12)
    assert found > 0.01


@pytest.mark.parametrize("right", [(30, 12, 3, 40), (30, 0, 3, 40), (0, 0, 0, 0), (40, 40, 40, 40)])
def test_the_harmonic_mean_is_scipys(right):
    """Of class accuracies, where class 4 has no sample and says nothing; 0 if one of them is 0."""
    labels = np.repeat(np.arange(4), 40)
    is_right = np.concatenate([np.arange(40) < each for each in right])
    predicted = np.where(is_right, labels, 4)
    scores = SampleScores(labels, predicted, *np.full((3, 160), 0.5))
    found = measure(scores, COUNTS).harmonic_mean
    assert found == pytest.approx(hmean(np.array(right) / 40))


def test_the_mean_gap_of_the_reliability_bins_is_the_calibration_error(rng):
    labels, predicted = rng.integers(0, 4, (2, 500))
    confidence = rng.uniform(0.25, 1, 500)
    scores = SampleScores(labels, predicted, confidence, np.zeros(500), np.zeros(500))
    for members in (np.ones(4, np.bool_), np.array([True, False, False, True])):
        found = reliability(scores, members)
        chosen = members[labels]
        assert found.samples.sum() == chosen.sum()
        gaps = np.nansum(found.samples * np.abs(found.accuracy - found.confidence)) / chosen.sum()
        part = SampleScores(*(values[chosen] for values in vars(scores).values()))
        assert gaps == pytest.approx(measure(part, np.full(4, 5)).ece)


def test_full_confidence_falls_into_the_last_bin():
    scores = SampleScores(np.array([0]), np.array([0]), np.array([1.0]), np.zeros(1), np.zeros(1))
    assert measure(scores, np.array([5, 5])).ece == 0.0


def test_class_averages_are_over_the_images_of_the_class():
    logits = torch.tensor([[7.0, 1.0], [5.0, 19.0], [10.0, 3.0]])
    labels = torch.tensor([0, 0, 1])
    found = class_averages(
        scored(logits, labels),
        margin_norm=np.array([2.0, 0.5]),
        class_counts=np.array([100, 10]),
    )
    assert found.mean_logit.tolist() == [6.0, 3.0]
    assert found.mean_margin.tolist() == [3.0, 6.0]
    assert found.logit_correlation == pytest.approx(1.0)
    assert found.margin_correlation == pytest.approx(-1.0)


def test_rank_correlation_leaves_absent_classes_out():
    assert rank_correlation(np.array([9, 5, 1]), np.array([1.0, np.nan, 3.0])) == pytest.approx(
        -1.0
    )
    assert math.isnan(rank_correlation(np.array([9, 5]), np.array([np.nan, 1.0])))
