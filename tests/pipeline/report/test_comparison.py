import numpy as np
import pytest
from simulated_scores import simulate_scores

from marr_pipeline.names import REFERENCES
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.comparison import (
    WITHOUT_INTERVAL,
    Scored,
    compare_methods,
    difference_key,
    over_seeds,
    paired_p_value,
)
from marr_pipeline.report.metrics import SUMMARIES, measure
from marr_pipeline.report.population import as_sampled

COUNTS = np.array([500, 200, 60, 10, 5])
LABELS = np.repeat(np.arange(5), 60)
WORSE = np.array([0.95, 0.9, 0.6, 0.3, 0.2])
BETTER = np.array([0.9, 0.85, 0.7, 0.6, 0.5])
POPULATION = as_sampled(LABELS, 5)


def make_scores(seed=0):
    generator = np.random.default_rng(seed)
    return {
        "softmax": simulate_scores(LABELS, WORSE, generator),
        "logit-adjustment": simulate_scores(LABELS, BETTER, generator),
        "marr": simulate_scores(LABELS, BETTER, generator),
    }


def compared(
    scores=None, *, counts=COUNTS, resamples=500, seconds=0.5, status="converged", **options
):
    facts = {
        "margin_correlation": float("nan"),
        "logit_correlation": 0.25,
        "parameters": 10,
        "seconds": seconds,
    }
    return compare_methods(
        {
            key: Scored(method=key, status=status, fit_split="train", scores=one, facts=facts)
            for key, one in (make_scores() if scores is None else scores).items()
        },
        counts,
        population=POPULATION,
        bootstrap=Bootstrap(resamples=resamples) if resamples else None,
        **options,
    )


@pytest.fixture(scope="module")
def standings():
    return compared()


def with_interval(standing):
    return {key for key, estimate in standing.estimates.items() if estimate.interval is not None}


def test_every_method_is_set_against_both_references_but_itself(standings):
    for key, standing in standings.items():
        record = standing.record()
        compared_to = {name for name in REFERENCES if record[difference_key("overall", name)]}
        assert compared_to == set(REFERENCES) - {key}


def test_any_method_may_be_the_reference(standings):
    found = compared(references=("logit-adjustment", "marr"))
    assert found["softmax"].difference("softmax") is None
    there, back = found["softmax"].difference("marr"), standings["marr"].difference("softmax")
    assert there["difference"] == -back["difference"]
    assert (there["p"], there["interval"]) == (back["p"], tuple(-x for x in back["interval"][::-1]))


@pytest.mark.parametrize("name", SUMMARIES)
def test_differences_are_those_of_the_metrics(name, standings):
    scores = make_scores()
    here, there = (measure(scores[key], COUNTS).summaries() for key in ("marr", "softmax"))
    found = standings["marr"].estimates[difference_key(name, "softmax")]
    assert found.value == here[name] - there[name]


def test_a_difference_turned_around_has_its_interval_turned_around(standings):
    for name in set(SUMMARIES) - set(WITHOUT_INTERVAL):
        one = standings["softmax"].estimates[difference_key(name, "logit-adjustment")]
        other = standings["logit-adjustment"].estimates[difference_key(name, "softmax")]
        assert one.p == other.p
        low, high = other.interval
        assert one.interval == pytest.approx((-high, -low))


def test_p_is_corrected_over_all_that_is_set_against_a_reference(standings):
    scores = make_scores()
    plain = {
        key: paired_p_value(scores[key], scores["softmax"], POPULATION)
        for key in ("logit-adjustment", "marr")
    }
    smaller, larger = sorted(plain, key=plain.__getitem__)
    corrected = {key: standings[key].estimates["vs_softmax"].p_holm for key in plain}
    assert corrected[smaller] == pytest.approx(2 * plain[smaller])
    assert corrected[larger] == pytest.approx(max(plain[larger], 2 * plain[smaller]))


def test_paired_intervals_are_narrower_than_those_of_unrelated_samples():
    """Two classifiers that differ on a few samples alone."""
    scores = make_scores()
    near = scores["logit-adjustment"]
    predicted = near.predicted.copy()
    predicted[:9] = (LABELS[:9] + 1) % 5
    scores["marr"] = type(near)(LABELS, predicted, near.confidence, near.nll, near.own_logit)
    found = compared(scores)["marr"].estimates
    low, high = found["vs_logit_adjustment"].interval
    own_low, own_high = found["overall"].interval
    assert high - low < (own_high - own_low) / 2


def test_the_smallest_of_many_has_no_interval(standings):
    names = set(SUMMARIES) - set(WITHOUT_INTERVAL)
    differences = {difference_key(name, one) for name in names for one in REFERENCES}
    assert with_interval(standings["marr"]) == names | differences
    assert standings["marr"].estimates["worst_class"].is_apart is None
    assert standings["marr"].estimates["overall"].is_apart is not None


def test_what_does_not_exist_has_no_interval():
    # No class of few images is left.
    found = compared(counts=np.where(COUNTS < 20, 20, COUNTS), resamples=200)["marr"]
    assert not found.estimates["few"].exists
    assert found.record()["intervals"]["few"] is None


def test_intervals_stay_within_what_is_possible():
    perfect = simulate_scores(LABELS, np.array([1.0, 1, 1, 1, 0.999]), np.random.default_rng(0))
    found = compared(dict.fromkeys(REFERENCES, perfect), resamples=200)["softmax"].estimates
    for name in set(SUMMARIES) - set(WITHOUT_INTERVAL):
        low, high = found[name].interval
        assert 0 <= low <= high
        assert name == "nll" or high <= 1
    assert found["nll"].interval[1] == pytest.approx(perfect.nll.mean(), abs=0.3)


def test_without_a_bootstrap_there_are_differences_and_no_intervals(standings):
    found = compared(resamples=0)["marr"]
    assert with_interval(found) == set()
    assert found.estimates["vs_softmax"].p == standings["marr"].estimates["vs_softmax"].p


def test_record_of_a_method(standings):
    estimates, record = standings["marr"].estimates, standings["marr"].record()
    assert record["interval"] == record["intervals"]["overall"] == estimates["overall"].interval
    assert record["vs_softmax"]["p_holm"] == estimates["vs_softmax"].p_holm
    assert record["vs_softmax"]["difference"] == estimates["vs_softmax"].value
    assert record["vs_softmax"]["differences"]["nll"] == estimates["nll_vs_softmax"].value
    assert record["harmonic_mean"] == measure(make_scores()["marr"], COUNTS).harmonic_mean
    assert (record["method"], record["parameters"], record["status"]) == ("marr", 10, "converged")
    assert standings["softmax"].record()["vs_softmax"] is None


def test_record_over_seeds_has_the_keys_of_one_cache_and_the_spread():
    runs = [compared(make_scores(seed), resamples=0, seconds=seed) for seed in (0, 1, 2)]
    found = over_seeds(runs, ["softmax", "marr"])
    assert list(found) == ["softmax", "marr"]
    record, singles = found["marr"].record(), [run["marr"].record() for run in runs]
    assert set(record) == {*singles[0], "std", "runs"}
    np.testing.assert_equal(record["runs"], singles)
    accuracy = [single["overall"] for single in singles]
    assert record["overall"] == pytest.approx(np.mean(accuracy))
    assert record["std"]["overall"] == pytest.approx(np.std(accuracy, ddof=1))
    gains = [single["vs_softmax"]["differences"]["nll"] for single in singles]
    assert record["vs_softmax"]["differences"]["nll"] == pytest.approx(np.mean(gains))
    assert record["std"]["nll_vs_softmax"] == pytest.approx(np.std(gains, ddof=1))
    assert record["interval"] is record["vs_softmax"]["p"] is record["vs_softmax"]["p_holm"] is None
    assert record["seconds"] == 1.0
    expected = np.mean([single["per_class"] for single in singles], axis=0)
    np.testing.assert_allclose(record["per_class"], expected)


def test_endings_that_differ_over_seeds_are_all_told():
    runs = [compared(resamples=0, status=s) for s in ("converged", "step_limit", "converged")]
    assert over_seeds(runs, ["marr"])["marr"].status == "converged, step_limit"
