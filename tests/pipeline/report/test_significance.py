import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from simulated_scores import simulate_scores

from marr_pipeline.report.comparison import exact_mcnemar, holm, paired_p_value
from marr_pipeline.report.population import as_sampled, under_distribution
from marr_pipeline.report.scores import SampleScores


def scores_of(is_right, labels=None):
    is_right = np.asarray(is_right)
    labels = np.zeros(len(is_right), dtype=np.int64) if labels is None else labels
    predicted = np.where(is_right, labels, labels + 1)
    return SampleScores(labels, predicted, *[np.full(len(labels), 0.5)] * 3)


@pytest.mark.parametrize(
    ("won", "lost", "expected"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),  # five heads or five tails of five tosses
        (0, 5, 2 / 32),
        (7, 3, 2 * (1 + 10 + 45 + 120) / 1024),
        (4, 4, 1.0),
    ],
)
def test_mcnemar_by_hand(won, lost, expected):
    assert exact_mcnemar(won, lost) == pytest.approx(expected)


def test_only_discordant_samples_count():
    first = scores_of([1, 1, 1, 1, 1, 0, 0, 1])
    second = scores_of([0, 0, 0, 0, 0, 0, 0, 1])
    population = as_sampled(first.labels, 2)
    assert paired_p_value(first, second, population) == pytest.approx(2 / 32)
    assert paired_p_value(second, first, population) == pytest.approx(2 / 32)
    assert paired_p_value(first, first, population) == 1.0


def test_weighted_mcnemar_by_hand():
    # Weights 1 and 3: gains 1 + 1 - 3, squares 1 + 1 + 9.
    labels = np.array([0, 0, 1, 1])
    population = under_distribution(labels, np.array([1.0, 3.0]))
    p = paired_p_value(scores_of([1, 1, 0, 1], labels), scores_of([0, 0, 1, 1], labels), population)
    assert p == pytest.approx(2 * norm.sf(1 / math.sqrt(11)))


def test_weighted_mcnemar_without_a_discordant_sample_is_1():
    labels = np.array([0, 0, 1])
    one = scores_of([1, 0, 1], labels)
    assert paired_p_value(one, one, under_distribution(labels, np.ones(2))) == 1.0


def test_the_weighted_form_approaches_the_exact_one():
    """Nearly equal weights, so that the approximation is used where the exact test would do."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 2000)
    first = simulate_scores(labels, np.array([0.72, 0.70]), generator)
    second = simulate_scores(labels, np.array([0.70, 0.70]), generator)
    weighted = paired_p_value(first, second, under_distribution(labels, np.array([1.0, 1.0001])))
    exact = paired_p_value(first, second, as_sampled(labels, 2))
    assert 0.01 < exact < 0.99
    assert weighted == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("distribution", [np.ones(3), np.array([5.0, 2.0, 1.0])])
def test_equal_classifiers_are_called_different_in_5_of_100_test_sets(distribution):
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [40, 80, 120])
    accuracy = np.array([0.8, 0.6, 0.4])
    population = under_distribution(labels, distribution)
    p_values = [
        paired_p_value(
            simulate_scores(labels, accuracy, generator),
            simulate_scores(labels, accuracy, generator),
            population,
        )
        for _ in range(1_000)
    ]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_holm_by_hand():
    # Sorted .01, .02, .03, .6 times 4, 3, 2, 1; the third may not fall below the second.
    assert holm([0.03, 0.01, 0.6, 0.02]) == pytest.approx([0.06, 0.04, 0.6, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values):
    alpha = 0.05
    rejected = set()
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] * (len(p_values) - rank) >= alpha:
            break
        rejected.add(int(index))
    assert set(np.flatnonzero(holm(p_values) < alpha).tolist()) == rejected
