import numpy as np
import pytest
from simulated_scores import simulate_scores

from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.class_curves import ClassAverages
from marr_pipeline.report.comparison import REFERENCES, WITHOUT_INTERVAL, compare_scores
from marr_pipeline.report.estimate import Estimate, over_seeds
from marr_pipeline.report.method_report import MethodReport, SeedReport
from marr_pipeline.report.metrics import SUMMARIES, measure
from marr_pipeline.report.population import as_sampled
from marr_pipeline.report.significance import paired_p_value

COUNTS = np.array([500, 200, 60, 10, 5])
LABELS = np.repeat(np.arange(5), 60)
WORSE = np.array([0.95, 0.9, 0.6, 0.3, 0.2])
BETTER = np.array([0.9, 0.85, 0.7, 0.6, 0.5])


def make_scores(seed=0):
    generator = np.random.default_rng(seed)
    return {
        "softmax": simulate_scores(LABELS, WORSE, generator),
        "logit-adjustment": simulate_scores(LABELS, BETTER, generator),
        "marr": simulate_scores(LABELS, BETTER, generator),
    }


def compared(seed=0, *, bootstrap=Bootstrap(resamples=500)):  # noqa: B008 - it is frozen
    return compare_scores(
        make_scores(seed), COUNTS, population=as_sampled(LABELS, 5), bootstrap=bootstrap
    )


def report(standing, **changes):
    fields = {
        "method": "marr",
        "averages": ClassAverages(
            mean_logit=np.zeros(5),
            mean_margin=np.zeros(5),
            logit_correlation=0.25,
            margin_correlation=float("nan"),
        ),
        "num_parameters": 10,
        "seconds": 0.5,
        "status": "converged",
    }
    return MethodReport(standing=standing, **(fields | changes))


def test_every_classifier_is_set_against_both_references_but_itself():
    found = compared()
    assert set(found["marr"].against) == set(REFERENCES)
    assert set(found["softmax"].against) == {"logit-adjustment"}
    assert set(found["logit-adjustment"].against) == {"softmax"}


def test_differences_are_those_of_the_metrics():
    scores, found = make_scores(), compared()
    for name in SUMMARIES:
        here, there = (measure(scores[key], COUNTS).summaries() for key in ("marr", "softmax"))
        assert found["marr"].against["softmax"].value[name] == here[name] - there[name]


def test_a_difference_turned_around_has_its_interval_turned_around():
    found = compared()
    one = found["softmax"].against["logit-adjustment"]
    other = found["logit-adjustment"].against["softmax"]
    assert one.p == other.p
    for name in one.interval:
        low, high = other.interval[name]
        assert one.interval[name] == pytest.approx((-high, -low))


def test_p_is_corrected_over_all_that_is_set_against_a_reference():
    scores, found = make_scores(), compared()
    population = as_sampled(LABELS, 5)
    plain = {
        name: paired_p_value(scores[name], scores["softmax"], population)
        for name in ("logit-adjustment", "marr")
    }
    smaller, larger = sorted(plain, key=plain.__getitem__)
    assert found[smaller].against["softmax"].p_holm == pytest.approx(2 * plain[smaller])
    assert found[larger].against["softmax"].p_holm == pytest.approx(
        max(plain[larger], 2 * plain[smaller])
    )


def test_paired_intervals_are_narrower_than_those_of_unrelated_samples():
    """Two classifiers that differ on a few samples alone."""
    scores = make_scores()
    near = scores["logit-adjustment"]
    predicted = near.predicted.copy()
    predicted[:9] = (LABELS[:9] + 1) % 5
    scores["marr"] = type(near)(LABELS, predicted, near.confidence, near.nll, near.own_logit)
    found = compare_scores(
        scores, COUNTS, population=as_sampled(LABELS, 5), bootstrap=Bootstrap(resamples=500)
    )
    low, high = found["marr"].against["logit-adjustment"].interval["overall"]
    own_low, own_high = found["marr"].interval["overall"]
    assert high - low < (own_high - own_low) / 2


def test_the_smallest_of_many_has_no_interval():
    found = compared()["marr"]
    assert set(found.interval) == set(SUMMARIES) - set(WITHOUT_INTERVAL)
    assert set(found.against["softmax"].interval) == set(SUMMARIES) - set(WITHOUT_INTERVAL)


def test_what_does_not_exist_has_no_interval():
    scores = make_scores()
    counts = np.where(COUNTS < 20, 20, COUNTS)  # no class of few images is left
    found = compare_scores(
        scores, counts, population=as_sampled(LABELS, 5), bootstrap=Bootstrap(resamples=200)
    )["marr"]
    assert np.isnan(found.metrics.few)
    assert "few" not in found.interval
    assert report(found).record()["intervals"]["few"] is None


def test_intervals_stay_within_what_is_possible():
    perfect = simulate_scores(LABELS, np.array([1.0, 1, 1, 1, 0.999]), np.random.default_rng(0))
    scores = dict.fromkeys(("softmax", "logit-adjustment"), perfect)
    found = compare_scores(
        scores, COUNTS, population=as_sampled(LABELS, 5), bootstrap=Bootstrap(resamples=200)
    )["softmax"]
    for name, (low, high) in found.interval.items():
        assert 0 <= low <= high
        assert name == "nll" or high <= 1
    assert found.interval["nll"][1] == pytest.approx(perfect.nll.mean(), abs=0.3)


def test_without_a_bootstrap_there_are_differences_and_no_intervals():
    found = compared(bootstrap=None)["marr"]
    assert found.interval == {}
    assert found.against["softmax"].interval == {}
    assert found.against["softmax"].p == compared()["marr"].against["softmax"].p


def test_mean_and_standard_deviation_over_seeds():
    runs = [{"overall": Estimate(value=value, p_holm=0.01)} for value in (0.5, 0.6, 0.7)]
    found = over_seeds(runs)["overall"]
    assert found.value == pytest.approx(0.6)
    assert found.std == pytest.approx(0.1)
    assert found.p_holm is None
    nothing = [{"few": Estimate(value=float("nan"))}] * 2
    assert not over_seeds(nothing)["few"].exists


def test_record_of_a_method():
    standing = compared()["marr"]
    record = report(standing).record()
    assert record["interval"] == standing.interval["overall"] == record["intervals"]["overall"]
    assert record["vs_softmax"]["p_holm"] == standing.against["softmax"].p_holm
    assert record["vs_softmax"]["difference"] == standing.against["softmax"].value["overall"]
    assert record["harmonic_mean"] == standing.metrics.harmonic_mean
    assert (record["method"], record["parameters"], record["status"]) == ("marr", 10, "converged")
    assert report(compared()["softmax"]).record()["vs_softmax"] is None


def test_record_over_seeds_has_the_keys_of_one_cache_and_the_spread():
    runs = [report(compared(seed, bootstrap=None)["marr"], seconds=seed) for seed in (0, 1, 2)]
    record, single = SeedReport(runs).record(), runs[0].record()
    assert set(single) < set(record)
    accuracy = [run.standing.metrics.overall for run in runs]
    assert record["overall"] == pytest.approx(np.mean(accuracy))
    assert record["std"]["overall"] == pytest.approx(np.std(accuracy, ddof=1))
    gains = [run.standing.against["softmax"].value["nll"] for run in runs]
    assert record["vs_softmax"]["differences"]["nll"] == pytest.approx(np.mean(gains))
    assert record["std"]["nll_vs_softmax"] == pytest.approx(np.std(gains, ddof=1))
    assert record["interval"] is record["vs_softmax"]["p"] is None
    assert record["seconds"] == 1.0
    np.testing.assert_allclose(
        record["per_class"], np.mean([run.standing.metrics.per_class for run in runs], 0)
    )


def test_endings_that_differ_over_seeds_are_all_told():
    standing = compared(bootstrap=None)["marr"]
    runs = [report(standing, status=status) for status in ("converged", "step_limit", "converged")]
    assert SeedReport(runs).status == "converged, step_limit"
