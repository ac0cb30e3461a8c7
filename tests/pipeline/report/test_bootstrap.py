import numpy as np
import pytest
from simulated_scores import simulate_calibrated, simulate_scores, true_summaries

from marr_pipeline.errors import ConfigError
from marr_pipeline.groups import shot_groups
from marr_pipeline.report import bootstrap as bootstrap_module
from marr_pipeline.report.bootstrap import (
    Bootstrap,
    bootstrap_interval,
    bootstrap_summaries,
    resample_counts,
)
from marr_pipeline.report.metrics import SUMMARIES, measure
from marr_pipeline.report.population import as_sampled, under_distribution
from marr_pipeline.report.scores import SampleScores

ACCURACY = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
COUNTS = np.array([500, 200, 60, 40, 10, 5])
LABELS = np.repeat(np.arange(6), [90, 60, 60, 60, 80, 90])


def make_scores(seed, labels=LABELS):
    return simulate_scores(labels, ACCURACY, np.random.default_rng(seed))


def resampled(scores, *, population=None, resamples=200, seed=0):
    return bootstrap_summaries(
        scores,
        COUNTS,
        population=population or as_sampled(LABELS, 6),
        bootstrap=Bootstrap(resamples=resamples, seed=seed),
    )


def all_counts(labels, *, resamples, seed=0):
    samples = np.bincount(labels)
    return np.hstack(
        list(resample_counts(labels, samples, Bootstrap(resamples=resamples, seed=seed)))
    )


def test_every_class_keeps_its_size_in_every_resample():
    labels = np.random.default_rng(0).permutation(LABELS)
    counts = all_counts(labels, resamples=150)
    assert counts.shape == (len(labels), 150)
    for label in range(6):
        np.testing.assert_allclose(counts[labels == label].sum(0), (labels == label).sum())


def test_resampled_class_accuracies_have_the_unbiased_variance():
    """p (1 - p) / (n - 1), which is what s^2 / n is for n samples that are right or wrong."""
    labels = np.repeat([0, 1], [3, 50])
    is_right = np.array([1, 0, 0] + 35 * [1] + 15 * [0])
    counts = all_counts(labels, resamples=20_000)
    for label, size in ((0, 3), (1, 50)):
        members = labels == label
        accuracy = is_right[members] @ counts[members] / size
        share = is_right[members].mean()
        assert accuracy.mean() == pytest.approx(share, rel=0.02)
        assert accuracy.var() == pytest.approx(share * (1 - share) / (size - 1), rel=0.05)


def test_a_class_with_one_sample_does_not_vary_and_an_absent_one_does_no_harm():
    labels = np.array([0, 2, 2, 2])
    counts = np.hstack(list(resample_counts(labels, np.array([1, 0, 3]), Bootstrap())))
    assert (counts[0] == 1).all()
    assert (counts[1:].sum(0) == 3).all()


@pytest.mark.parametrize("distribution", [None, np.array([6.0, 5, 4, 3, 2, 1])])
def test_a_resample_is_measured_like_a_split_with_its_samples_repeated(distribution):
    scores = make_scores(0)
    population = as_sampled(LABELS, 6)
    if distribution is not None:
        population = under_distribution(LABELS, distribution)
    found = resampled({"one": scores}, population=population, resamples=100)["one"]
    sizes = np.bincount(LABELS)
    factor = (sizes / (sizes - 1))[LABELS]
    counts = all_counts(LABELS, resamples=100)
    for index in (0, 57):
        times = np.rint(counts[:, index] / factor).astype(int)
        repeated = SampleScores(*(np.repeat(part, times) for part in vars(scores).values()))
        asked = population.mass
        whole = measure(repeated, COUNTS, population=under_distribution(repeated.labels, asked))
        assert dict(zip(SUMMARIES, found[:, index], strict=True)) == pytest.approx(
            whole.summaries()
        )


def test_resamples_are_the_same_for_all_classifiers_and_for_any_block(monkeypatch):
    first, second = make_scores(0), make_scores(1)
    both = resampled({"first": first, "second": second})
    np.testing.assert_array_equal(both["first"], resampled({"first": first})["first"])
    monkeypatch.setattr(bootstrap_module, "BLOCK_COUNTS", 7 * len(LABELS))
    # Sums of blocks of another width may be added in another order.
    np.testing.assert_allclose(resampled({"one": second})["one"], both["second"], rtol=1e-12)


def test_the_seed_decides_the_resamples():
    scores = {"one": make_scores(0)}
    np.testing.assert_array_equal(resampled(scores)["one"], resampled(scores)["one"])
    assert not np.array_equal(resampled(scores)["one"], resampled(scores, seed=1)["one"])


NUM_SIMULATED = 1_000
COVERED = ("overall", "balanced", "many", "medium", "few", "macro_f1", "harmonic_mean", "nll")


@pytest.fixture(scope="module")
def simulated():
    """1,000 simulated test sets, as classifiers on the same labels: estimates and resamples."""
    generator = np.random.default_rng(0)
    scores = {str(i): simulate_scores(LABELS, ACCURACY, generator) for i in range(NUM_SIMULATED)}
    population = under_distribution(LABELS, np.ones(6))
    estimates = [measure(one, COUNTS, population=population).summaries() for one in scores.values()]
    replicates = list(resampled(scores, population=population, resamples=500).values())
    return estimates, replicates


@pytest.mark.parametrize("name", COVERED)
def test_intervals_hold_the_truth_in_95_of_100_test_sets(simulated, name):
    truth = true_summaries(ACCURACY, shot_groups(COUNTS))[name]
    row = SUMMARIES.index(name)
    hits = 0
    for estimate, replicate in zip(*simulated, strict=True):
        low, high = bootstrap_interval(estimate[name], replicate[row])
        hits += low <= truth <= high
    assert hits / NUM_SIMULATED == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("name", COVERED)
def test_intervals_of_differences_hold_nothing_where_there_is_none(simulated, name):
    """Two classifiers of the same true metrics, on the same resamples."""
    row = SUMMARIES.index(name)
    estimates, replicates = simulated
    hits = 0
    for second in range(NUM_SIMULATED):
        first = second - 1
        difference = estimates[first][name] - estimates[second][name]
        low, high = bootstrap_interval(difference, replicates[first][row] - replicates[second][row])
        hits += low <= 0 <= high
    assert hits / NUM_SIMULATED == pytest.approx(0.95, abs=0.02)


def test_plain_percentiles_would_not_hold_a_small_calibration_error():
    """No bin's share of it can fall below 0, so that every resample adds to it."""
    generator, surplus = np.random.default_rng(0), 0.02
    labels = np.tile(LABELS, 5)
    scores = {str(i): simulate_calibrated(labels, generator, surplus=surplus) for i in range(300)}
    found = bootstrap_summaries(
        scores, COUNTS, population=as_sampled(labels, 6), bootstrap=Bootstrap(resamples=400)
    )
    row, plain, shifted = SUMMARIES.index("ece"), [], []
    for name, replicates in found.items():
        low, high = np.quantile(replicates[row], [0.025, 0.975])
        plain.append(low <= surplus <= high)
        low, high = bootstrap_interval(measure(scores[name], COUNTS).ece, replicates[row])
        shifted.append(low <= surplus <= high)
    assert np.mean(plain) < 0.3
    assert np.mean(shifted) > 0.85


def test_an_interval_is_moved_against_the_bias_twice():
    resampled_values = np.arange(1001) / 1000  # mean 0.5
    low, high = bootstrap_interval(0.4, resampled_values)
    assert (low, high) == pytest.approx((0.025 - 0.2, 0.975 - 0.2))


def test_too_few_resamples_are_refused():
    with pytest.raises(ConfigError, match=r"resamples: at least 100 expected, .* got 99"):
        Bootstrap(resamples=99)
