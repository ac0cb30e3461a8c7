from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import make_inputs

from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify import thinned
from marr_pipeline.rectify.affine import build_problem
from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.rows.thinning import class_positions, thin_rows
from marr_pipeline.rectify.settings import PRESETS
from marr_pipeline.rectify.thinned import ThinnedApproximation

EXACT = replace(PRESETS["paper"], tolerance=1e-11)
labels_strategy = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(torch.tensor)


@given(labels_strategy, st.integers(1, 20))
def test_kept_rows_stand_for_all_rows_of_their_class(labels, rows_per_class):
    rows, stands_for = thin_rows(labels, 7, rows_per_class)
    counts = torch.bincount(labels, minlength=7)
    kept = torch.bincount(labels[rows], minlength=7)
    assert torch.equal(kept, counts.clamp(max=rows_per_class))
    assert len(rows.unique()) == len(rows)
    torch.testing.assert_close((kept * stands_for)[counts > 0], counts[counts > 0].double())
    assert stands_for[counts == 0].tolist() == [1.0] * int((counts == 0).sum())


def test_kept_rows_are_spread_evenly():
    labels = torch.tensor([0] * 10 + [1] * 3)
    rows, stands_for = thin_rows(labels, 2, 4)
    assert rows.tolist() == [0, 2, 5, 7, 10, 11, 12]
    assert stands_for.tolist() == [2.5, 1.0]


@given(st.lists(st.integers(0, 6), max_size=60))
def test_positions_are_those_of_counting_along(labels):
    seen: Counter[int] = Counter()
    counted = []
    for label in labels:
        counted.append(seen[label])
        seen[label] += 1
    found = class_positions(torch.tensor(labels, dtype=torch.int64))
    assert found.tolist() == counted
    assert found.dtype == torch.int64


@pytest.fixture
def large_inputs():
    return make_inputs(num_classes=12, num_samples=12_000, num_views=1)


def problem_of(inputs, settings=EXACT):
    return build_problem(inputs, settings, METHODS["marr"].family(inputs.weight_norm))


def test_the_thinned_problem_is_smaller_and_its_loss_is_near(large_inputs):
    problem = problem_of(large_inputs)
    few = ThinnedApproximation(problem).problem
    assert few.loss.num_rows <= problem.loss.num_rows / 3
    theta = problem.family.identity()
    exact, estimate = (p.evaluate(theta, precise=True) for p in (problem, few))
    assert estimate.value == pytest.approx(exact.value, rel=0.1)


def test_a_small_problem_is_not_thinned(inputs):
    problem = problem_of(inputs)
    assert ThinnedApproximation(problem).problem is problem


@pytest.mark.parametrize("l2", [1e-4, 1e-2])
def test_optimum_does_not_depend_on_thinning_and_preconditioner(large_inputs, monkeypatch, l2):
    settings = replace(EXACT, l2=l2)
    with_hessian = fit_rectifier(large_inputs, settings)
    monkeypatch.setattr(thinned, "MAX_WIDTH", 0)  # as for thousands of classes: no Hessian
    without = fit_rectifier(large_inputs, settings)
    assert with_hessian.status is without.status is FitStatus.CONVERGED
    assert with_hessian.loss == pytest.approx(without.loss, abs=2e-11)
    assert with_hessian.passes < without.passes


def test_a_preconditioner_that_does_not_fit_is_renewed(large_inputs, monkeypatch):
    monkeypatch.setattr(thinned, "REFRESH", 3)
    fit = fit_rectifier(large_inputs, replace(EXACT, l2=0.0, tolerance=1e-9))
    assert fit.status is FitStatus.CONVERGED
