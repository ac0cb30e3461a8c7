import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_scores import simulate_scores
from sklearn.metrics import accuracy_score, f1_score

from marr_pipeline.errors import DataError
from marr_pipeline.report.metrics import measure
from marr_pipeline.report.population import as_sampled, reversed_distribution, under_distribution

COUNTS = np.array([500, 100, 20, 19, 5])
FREE_OF_POPULATION = ("balanced", "many", "medium", "few", "worst_class", "harmonic_mean")


def random_scores(seed, num_samples=60):
    generator = np.random.default_rng(seed)
    labels = generator.choice(5, num_samples, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    return simulate_scores(labels, np.array([0.9, 0.8, 0.5, 0.5, 0.2]), generator)


@given(st.integers(0, 10_000))
def test_metrics_under_a_distribution_are_scikit_learns_with_sample_weights(seed):
    scores = random_scores(seed)
    distribution = np.random.default_rng(seed).random(5) + 0.01
    found = measure(scores, COUNTS, population=under_distribution(scores.labels, distribution))
    samples = np.bincount(scores.labels, minlength=5)
    weights = (distribution / np.maximum(samples, 1))[scores.labels]
    labels, predicted = scores.labels, scores.predicted
    assert found.overall == pytest.approx(accuracy_score(labels, predicted, sample_weight=weights))
    expected = f1_score(
        labels,
        predicted,
        labels=np.unique(labels),
        average="macro",
        sample_weight=weights,
        zero_division=0,
    )
    assert found.macro_f1 == pytest.approx(expected)
    assert found.nll == pytest.approx(np.average(scores.nll, weights=weights))
    as_it_is = measure(scores, COUNTS)
    for name in FREE_OF_POPULATION:
        np.testing.assert_equal(getattr(found, name), getattr(as_it_is, name))


def test_the_distribution_of_the_split_itself_changes_nothing():
    scores = random_scores(1)
    own = under_distribution(scores.labels, np.bincount(scores.labels, minlength=5))
    assert own.is_as_sampled
    for name, value in measure(scores, COUNTS, population=own).summaries().items():
        assert value == pytest.approx(getattr(measure(scores, COUNTS), name), nan_ok=True)


def test_weighted_samples_count_like_repeated_ones():
    """A class that is asked for three times as often, against the same samples three times."""
    scores = random_scores(2)
    times = np.where(scores.labels == 4, 3, 1)
    repeated = type(scores)(*(np.repeat(part, times) for part in vars(scores).values()))
    distribution = np.bincount(repeated.labels, minlength=5)
    weighted = measure(
        scores, COUNTS, population=under_distribution(scores.labels, distribution)
    ).summaries()
    assert weighted == pytest.approx(measure(repeated, COUNTS).summaries())


def test_a_class_without_samples_leaves_its_share_to_the_others():
    labels = np.array([0, 0, 2])
    population = under_distribution(labels, np.array([0.5, 0.25, 0.25]))
    assert population.mass == pytest.approx([2 / 3, 0, 1 / 3])
    assert population.present.tolist() == [True, False, True]


def test_a_distribution_on_absent_classes_alone_is_refused():
    expected = "class distribution: weight on a class with samples expected, got none on any of 1"
    with pytest.raises(DataError, match=re.escape(expected)):
        under_distribution(np.array([0, 0]), np.array([0.0, 1.0]))


def test_the_split_as_it_is_counts_every_sample_once():
    population = as_sampled(np.array([0, 0, 2]), 3)
    assert population.weight.tolist() == [1, 0, 1]
    assert population.is_as_sampled


def test_a_class_of_no_weight_is_not_in_the_f1():
    scores = random_scores(3, num_samples=500)
    population = under_distribution(scores.labels, np.array([1.0, 1, 0, 0, 0]))
    found = measure(scores, COUNTS, population=population)
    kept = scores.labels < 2
    expected = f1_score(
        scores.labels[kept],
        scores.predicted[kept],
        labels=[0, 1],
        average="macro",
        sample_weight=population.weight[scores.labels[kept]],
    )
    assert found.macro_f1 == pytest.approx(expected)


def test_ties_of_the_reversed_distribution_go_by_label():
    # Ranks from the head are 3, 0, 1, 2, whose counts from the tail are 1, 2, 2, 5.
    assert reversed_distribution(np.array([2, 2, 1, 5])).tolist() == [0.2, 0.2, 0.5, 0.1]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20))
def test_reversing_keeps_the_shares_and_turns_their_order(counts):
    counts = np.array(counts)
    turned = reversed_distribution(counts)
    np.testing.assert_allclose(np.sort(turned), np.sort(counts / counts.sum()))
    order = np.argsort(-counts, kind="stable")
    assert (np.diff(turned[order]) >= 0).all()
