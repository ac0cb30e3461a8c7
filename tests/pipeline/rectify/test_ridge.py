"""The ridge to a point and to a line through the origin, and the certificate of both."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import make_inputs, rows_of
from reference import reference_class_weights, reference_objective
from scipy.optimize import minimize

from marr_pipeline.optim.ridge import Ridge
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.affine import build_problem
from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.settings import RectifySettings

STRENGTHS = st.floats(1e-4, 1e4)
TEMPERED = RectifySettings(
    center="tempered",
    gamma=1.2,
    l2=0.3,
    scale_l2=0.05,
    memorised=0.0,
    reduction="weighted",
    tolerance=1e-12,
)


def vectors(seed, count, size=6):
    return torch.randn((count, size), generator=torch.Generator().manual_seed(seed)).double()


def line_ridge(u, l2, scale_l2):
    return Ridge(l2=l2, center=u, scale_l2=scale_l2)


def hessian_of(ridge):
    matrix = torch.zeros((len(ridge.center), len(ridge.center)), dtype=torch.float64)
    ridge.add_hessian(matrix)
    return matrix


@given(seed=st.integers(0, 1000), l2=STRENGTHS, scale_l2=STRENGTHS)
def test_a_line_is_measured_from_its_nearest_point(seed, l2, scale_l2):
    theta, u = vectors(seed, 2)
    (scale,), (squares,), *_ = np.linalg.lstsq(u[:, None].numpy(), theta.numpy(), rcond=None)
    expected = 0.5 * l2 * squares + 0.5 * scale_l2 * scale**2
    assert float(line_ridge(u, l2, scale_l2).value(theta)) == pytest.approx(expected, rel=1e-9)


@given(seed=st.integers(0, 1000), l2=STRENGTHS, scale_l2=st.none() | STRENGTHS)
def test_gradient_and_hessian_are_those_of_the_value(seed, l2, scale_l2):
    theta, step, u = vectors(seed, 3)
    ridge = Ridge(l2=l2, center=u, scale_l2=scale_l2)
    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ridge.value(leaf), leaf)
    torch.testing.assert_close(ridge.gradient(theta), gradient, rtol=1e-9, atol=1e-9 * l2)
    hessian = torch.autograd.functional.hessian(ridge.value, theta)
    matrix = hessian_of(ridge)
    torch.testing.assert_close(matrix, hessian, rtol=1e-8, atol=1e-8 * l2)
    product = matrix @ step
    torch.testing.assert_close(ridge.hessian_product(step), product, rtol=1e-8, atol=1e-8 * l2)


@given(seed=st.integers(0, 1000), l2=STRENGTHS, scale_l2=st.none() | st.floats(1e-2, 1e2))
def test_gap_bound_is_the_inverse_matrix(seed, l2, scale_l2):
    gradient, u = vectors(seed, 2)
    ridge = Ridge(l2=l2, center=u, scale_l2=scale_l2)
    expected = 0.5 * gradient @ torch.linalg.solve(hessian_of(ridge), gradient)
    assert ridge.gap_bound(gradient) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("optimizer", ["lbfgs", "newton"])
def test_tempered_fit_is_the_optimum_of_an_independent_solver(inputs, optimizer):
    fit = fit_rectifier(inputs, replace(TEMPERED, optimizer=optimizer))
    logits, labels = (array.numpy() for array in rows_of(inputs))
    norm = inputs.weight_norm.numpy()
    log_prior = inputs.log_prior.numpy()
    adjusted = np.concatenate([np.ones(7), (log_prior.mean() - log_prior) / norm])
    weights = reference_class_weights(inputs.class_counts.tolist(), 1.2)
    scale_l2 = 0.05 * np.log(7)

    def objective(theta):
        value, by_omega, by_beta = reference_objective(
            logits.astype(np.float64), labels, weights, norm, theta[:7], theta[7:],
            l2=0.0, center=(0.0, 0.0), reduction="weighted",
        )  # fmt: skip
        s = theta @ adjusted / (adjusted @ adjusted)
        offset = theta - s * adjusted
        value += 0.5 * 0.3 * offset @ offset + 0.5 * scale_l2 * s**2
        along = scale_l2 * s * adjusted / (adjusted @ adjusted)
        return value, np.concatenate([by_omega, by_beta]) + 0.3 * offset + along

    options = {"maxiter": 20_000, "ftol": 1e-16, "gtol": 1e-9}
    found = minimize(objective, adjusted, jac=True, method="L-BFGS-B", options=options)
    assert fit.status is FitStatus.CONVERGED
    assert found.fun - 1e-9 <= fit.loss <= found.fun + 1e-11
    np.testing.assert_allclose(fit.rectifier.own["omega"], found.x[:7], atol=1e-4)
    np.testing.assert_allclose(fit.rectifier.own["beta"], found.x[7:], atol=1e-4)


def test_certificate_covers_every_point(inputs):
    """F - F* <= bound, at points near and far, for the line as for the point."""
    for tried in (TEMPERED, replace(TEMPERED, center="zero")):
        problem = build_problem(inputs, tried, METHODS["marr"].family(inputs.weight_norm))
        least = fit_rectifier(inputs, tried).loss
        for scale in (1e-3, 0.1, 1.0, 3.0):
            for offset in vectors(int(1000 * scale), 5, size=14):
                theta = problem.ridge.center + scale * offset
                point = problem.evaluate(theta, precise=True)
                assert point.value - least <= problem.gap_bound(point) + 1e-12


def test_a_strong_ridge_leaves_logit_adjustment_at_some_temperature(inputs):
    fit = fit_rectifier(inputs, replace(TEMPERED, l2=1e6))
    scale, shift = fit.rectifier.scale, fit.rectifier.shift
    torch.testing.assert_close(scale, scale[:1].expand(7), rtol=1e-4, atol=0)
    expected = scale[0] * (inputs.log_prior.mean() - inputs.log_prior)
    torch.testing.assert_close(shift, expected, rtol=1e-3, atol=1e-4)


def test_scale_ridge_keeps_memorised_logits_from_growing():
    """Separated rows: with a ridge on the scale it stays finite, and falls with the ridge."""
    inputs = make_inputs(spread=0.2, num_views=1)
    inputs.logits[0, torch.arange(len(inputs.labels)), inputs.labels] += 20.0
    scales = [
        float(fit_rectifier(inputs, replace(TEMPERED, scale_l2=strength)).rectifier.scale.mean())
        for strength in (0.01, 0.1, 1.0)
    ]
    assert 1.0 > scales[0] > scales[1] > scales[2] > 0.0
