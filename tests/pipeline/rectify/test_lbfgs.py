from dataclasses import replace

import pytest
import torch
from problems import make_inputs

from marr_pipeline.optim import coarse, lbfgs
from marr_pipeline.optim.coarse import Coarsening
from marr_pipeline.optim.curvature import inverse_hessian
from marr_pipeline.optim.result import FitStatus
from marr_pipeline.rectify.affine.fit import build_problem
from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.settings import RectifySettings

EXACT = RectifySettings(tolerance=1e-11)


@pytest.fixture
def large_inputs():
    return make_inputs(num_classes=12, num_samples=12_000, num_views=1)


def problem_of(inputs, settings=EXACT):
    return build_problem(inputs, settings, METHODS["marr"].family(inputs.weight_norm))


def test_the_thinned_problem_is_smaller_and_its_loss_is_near(large_inputs):
    problem = problem_of(large_inputs)
    few = Coarsening(problem).problem
    assert few.loss.num_rows <= problem.loss.num_rows / 3
    theta = problem.family.identity()
    exact, estimate = (p.evaluate(theta, precise=True) for p in (problem, few))
    assert estimate.value == pytest.approx(exact.value, rel=0.1)


@pytest.mark.parametrize("reduction", ["plain", "weighted"])
def test_a_thinned_problem_of_all_rows_is_the_problem(inputs, reduction):
    problem = problem_of(inputs, replace(EXACT, reduction=reduction))
    whole = problem.thin(10_000)
    theta = torch.linspace(-1, 1, 14, dtype=torch.float64)
    ours, theirs = whole.evaluate(theta, precise=True), problem.evaluate(theta, precise=True)
    assert ours.value == pytest.approx(theirs.value, rel=1e-12)
    torch.testing.assert_close(ours.gradient, theirs.gradient)


def test_a_small_problem_is_not_thinned(inputs):
    problem = problem_of(inputs)
    assert Coarsening(problem).problem is problem


def test_the_metric_is_the_inverse_of_the_hessian(inputs):
    problem = problem_of(inputs)
    theta = problem.family.identity()
    step = torch.linspace(1, 2, 14, dtype=torch.float64)
    found = inverse_hessian(problem, theta)(problem.hessian(theta) @ step)
    torch.testing.assert_close(found, step, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("l2", [1e-4, 1e-2])
def test_optimum_does_not_depend_on_thinning_and_metric(large_inputs, monkeypatch, l2):
    settings = replace(EXACT, l2=l2)
    with_metric = fit_rectifier(large_inputs, settings)
    monkeypatch.setattr(coarse, "MAX_WIDTH", 0)  # as for thousands of classes: no Hessian
    without = fit_rectifier(large_inputs, settings)
    assert with_metric.status is without.status is FitStatus.CONVERGED
    assert with_metric.loss == pytest.approx(without.loss, abs=2e-11)
    assert with_metric.passes < without.passes


def test_a_metric_that_does_not_fit_is_renewed(large_inputs, monkeypatch):
    monkeypatch.setattr(coarse, "REFRESH", 3)
    fit = fit_rectifier(large_inputs, replace(EXACT, l2=0.0, tolerance=1e-9))
    assert fit.status is FitStatus.CONVERGED


def test_float32_gives_way_to_float64_where_it_sees_no_descent(inputs):
    fit = fit_rectifier(inputs, replace(EXACT, l2=1e-3, tolerance=1e-16))
    assert fit.status is FitStatus.CONVERGED
    assert fit.gradient_norm <= (2e-3 * 1e-16) ** 0.5


@pytest.mark.parametrize(
    ("num_parameters", "num_pairs"), [(200, 20), (513_000, 20), (16_682_958, 4), (10**9, 4)]
)
def test_pairs_of_a_large_head_are_fewer(num_parameters, num_pairs):
    """Of 8142 classes and 2048 features 20 pairs would take 5 GB."""
    assert lbfgs.num_pairs(num_parameters) == num_pairs
