import numpy as np
import pytest
from simulated_scores import simulate_scores

from marr_pipeline.report.bootstrap import Bootstrap, bootstrap_summaries
from marr_pipeline.report.metrics import SUMMARIES, measure
from marr_pipeline.report.population import (
    reversed_distribution,
    tilted,
    under_distribution,
    under_priors,
)

COUNTS = np.array([400, 200, 100, 50, 25])
LABELS = np.repeat(np.arange(5), (60, 40, 80, 50, 30))
EXPONENTS = np.array([1.0, 0.3, 0.0, -1.0])


@pytest.fixture
def scores(rng):
    return {
        "head": simulate_scores(LABELS, np.array([0.95, 0.9, 0.6, 0.3, 0.1]), rng),
        "tail": simulate_scores(LABELS, np.array([0.6, 0.7, 0.7, 0.8, 0.9]), rng),
    }


def test_the_ends_are_the_training_distribution_and_its_reverse():
    np.testing.assert_allclose(tilted(COUNTS, 1.0), COUNTS / COUNTS.sum())
    np.testing.assert_allclose(tilted(COUNTS, 0.0), np.full(5, 0.2))
    np.testing.assert_allclose(tilted(COUNTS, -1.0), reversed_distribution(COUNTS))
    absent = tilted(np.array([9, 0]), -1.0)
    np.testing.assert_allclose(absent, np.array([0.5, 9]) / 9.5)


def test_values_are_those_of_measure_and_intervals_those_of_the_bootstrap(scores):
    curves = under_priors(scores, COUNTS, EXPONENTS)
    for at, exponent in enumerate(EXPONENTS):
        population = under_distribution(LABELS, tilted(COUNTS, exponent))
        resampled = bootstrap_summaries(
            scores, COUNTS, population=population, bootstrap=Bootstrap(resamples=4_000)
        )
        for name, curve in curves.items():
            expected = measure(scores[name], COUNTS, population=population)
            assert curve.accuracy[at] == pytest.approx(expected.overall)
            assert curve.nll[at] == pytest.approx(expected.nll)
            for metric, field in (("overall", "accuracy"), ("nll", "nll")):
                low, high = (getattr(curve, f"{field}_{end}")[at] for end in ("low", "high"))
                spread = resampled[name][SUMMARIES.index(metric)].std()
                assert (high - low) / 2 / 1.96 == pytest.approx(spread, rel=0.08)


def test_who_leads_and_whether_by_chance(scores):
    curves = under_priors(scores, COUNTS, EXPONENTS)
    assert curves["head"].accuracy_lead[0] == 2
    assert curves["tail"].accuracy_lead[-1] == 2
    leads = np.stack([curve.accuracy_lead for curve in curves.values()])
    assert ((leads > 0).sum(0) == 1).all()
    twins = under_priors({"a": scores["head"], "b": scores["head"]}, COUNTS, EXPONENTS)
    assert twins["a"].nll_lead.tolist() == [1] * 4
    assert twins["b"].nll_lead.tolist() == [0] * 4


def test_a_class_without_samples_leaves_its_share_to_the_others(scores):
    seen = LABELS > 0
    fewer = {
        name: type(one)(*(value[seen] for value in vars(one).values()))
        for name, one in scores.items()
    }
    curve = under_priors(fewer, COUNTS, EXPONENTS)["tail"]
    expected = under_priors(scores, np.array([1e-9, *COUNTS[1:]]), np.array([1.0]))["tail"]
    assert 0 < curve.accuracy_low.min() < curve.accuracy_high.max() <= 1
    assert expected.accuracy[0] == pytest.approx(curve.accuracy[0], abs=0.01)
