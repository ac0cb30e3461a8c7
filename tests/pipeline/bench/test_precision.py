import json
from dataclasses import replace

import pytest
import torch

from pipeline.bench.precision import run_precision_bench
from pipeline.bench.settings import BenchSettings
from pipeline.errors import DataError

SETTINGS = BenchSettings(repeat=1, gap=1e-12)


@pytest.fixture(scope="module")
def bench(bench_inputs):
    return run_precision_bench(bench_inputs, SETTINGS)


def test_logits_that_float16_holds_exactly_make_no_difference(bench_inputs):
    exact = replace(bench_inputs, logits=bench_inputs.logits.half().float())
    found = run_precision_bench(exact, SETTINGS)
    for difference in (found.omega, found.beta):
        assert difference.largest <= 2 * found.solver_error
    assert found.agreement.probabilities.largest < 1e-5
    assert found.agreement.changed == 0


def test_rounding_moves_the_fit_by_little_and_by_more_than_the_solver(bench):
    assert bench.solver_error < bench.omega.largest < 1e-2
    assert bench.solver_error < bench.beta.largest < 1e-2
    assert bench.omega.rms <= bench.omega.largest
    assert 0 < bench.agreement.probabilities.largest < 1e-2


def test_document_is_complete_json(bench):
    document = bench.document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) == {"machine", "fits", "differences"}
    fits = document["fits"]
    assert list(fits) == ["float32", "float16"]
    assert [fits[dtype]["bytes"] for dtype in fits] == [300 * 7 * 4, 300 * 7 * 2]
    assert all(fit["gap_bound"] <= 1e-12 for fit in fits.values())
    differences = document["differences"]
    assert differences["evaluation_rows"] == 300
    assert differences["accuracy"] == pytest.approx(
        fits["float16"]["accuracy"] - fits["float32"]["accuracy"]
    )


def test_both_are_compared_on_the_evaluation_rows(bench_inputs):
    logits = 100 * torch.eye(7)[[0, 6]]
    found = run_precision_bench(bench_inputs, SETTINGS, evaluation=(logits, torch.tensor([0, 6])))
    assert found.agreement.num_rows == 2
    assert found.agreement.accuracies == (1.0, 1.0)


def test_a_ridge_to_a_line_bounds_no_parameter(bench_inputs):
    assert (
        run_precision_bench(bench_inputs, replace(SETTINGS, center="tempered")).solver_error is None
    )


def test_rows_that_are_rounded_already_are_refused(bench_inputs):
    rounded = replace(bench_inputs, logits=bench_inputs.logits.half())
    with pytest.raises(DataError, match=r"float32 expected, .* got torch.float16"):
        run_precision_bench(rounded, SETTINGS)


def test_logits_beyond_float16_are_refused(bench_inputs):
    large = replace(bench_inputs, logits=bench_inputs.logits * 1e5)
    with pytest.raises(DataError, match="within float16's range expected"):
        run_precision_bench(large, SETTINGS)
