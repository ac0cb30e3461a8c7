import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench.contest import marr_contest
from pipeline.bench.scaling import (
    MEASURES,
    ScalingPoint,
    Series,
    run_scaling_bench,
    series_of_sizes,
)
from pipeline.bench.settings import BenchSettings, ScalingSettings
from pipeline.bench.timing import Timing
from pipeline.errors import ConfigError

OBJECTIVE = BenchSettings(repeat=1)


@pytest.fixture(scope="module")
def fit(bench_inputs):
    return marr_contest(bench_inputs, OBJECTIVE).fit("lbfgs", tolerance=1e-6)


@pytest.fixture(scope="module")
def bench():
    settings = ScalingSettings(num_samples=60, num_classes=4, num_points=3, objective=OBJECTIVE)
    return run_scaling_bench(settings, device=torch.device("cpu"))


@given(exponent=st.floats(0.0, 3.0), factor=st.floats(1e-6, 10.0))
def test_a_power_law_has_its_exponent(fit, exponent, factor):
    points = []
    for samples in (100, 300, 1000):
        timing = Timing(
            seconds=factor * samples**exponent, median_seconds=1.0, repeats=1, result=None
        )
        points.append(
            ScalingPoint(
                num_samples=samples, num_classes=7, one_pass=timing, fit=fit_of(timing, fit)
            )
        )
    series = Series(grows="samples", points=tuple(points))
    for measure in MEASURES:
        assert series.exponent(measure) == pytest.approx(exponent, abs=1e-9)
        assert series.to_linear(measure) == pytest.approx(10 ** (exponent - 1))


def fit_of(timing, fit):
    return Timing(seconds=timing.seconds, median_seconds=1.0, repeats=1, result=fit)


def test_sizes_span_a_decade_of_each_number():
    settings = ScalingSettings(num_samples=200, num_classes=10, objective=OBJECTIVE)
    assert series_of_sizes(settings) == {
        "samples": [(200, 10), (632, 10), (2000, 10)],
        "classes": [(200, 10), (200, 32), (200, 100)],
    }


def test_every_point_was_fitted_to_the_gap(bench):
    samples, classes = bench.series
    assert (samples.sizes, classes.sizes) == ([60, 190, 600], [4, 13, 40])
    assert samples.points[0] is classes.points[0]
    for point in (*samples.points, *classes.points):
        assert point.fit.result.gap_bound <= OBJECTIVE.gap
        assert len(point.fit.result.rectifier.scale) == point.num_classes
        assert point.fit_seconds_per_pass * point.fit.result.passes == pytest.approx(
            point.fit_seconds
        )


def test_document_is_complete_json(bench):
    document = bench.document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document["series"]) == {"samples", "classes"}
    for series in document["series"].values():
        assert set(series) == {"points", "to_linear", "exponent"}
        growth = series["points"][-1]["pass_seconds"] / series["points"][0]["pass_seconds"]
        assert series["to_linear"]["pass_seconds"] == pytest.approx(growth / 10)
        assert all(math.isfinite(series["exponent"][name]) for name in MEASURES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_points": 1}, "--points: at least 2 expected, got 1"),
        ({"span": 1.0}, "--span: a number > 1 expected, got 1.0"),
        ({"span": math.inf}, "--span: a number > 1 expected, got inf"),
    ],
)
def test_settings_check_themselves(changes, message):
    with pytest.raises(ConfigError, match=message):
        ScalingSettings(objective=OBJECTIVE, **changes)
