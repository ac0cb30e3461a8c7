"""The rough inverse of a head's Hessian against the dense matrices that it stands for."""

from dataclasses import replace

import pytest
import torch
from problems import make_head_inputs

from marr_pipeline.optim.newton import conjugate_gradients
from marr_pipeline.rectify.fit import preset_settings
from marr_pipeline.rectify.head.frame import build_head_problem
from marr_pipeline.rectify.head.solve import class_preconditioner

K, D, L2 = 6, 5, 1e-3


@pytest.fixture
def moment():
    """Eigenvalues and eigenvectors of a second moment of features (D, D)."""
    rows = torch.randn(40, D, generator=torch.Generator().manual_seed(3)).double()
    return torch.linalg.eigh(rows.T @ rows / len(rows))


@pytest.fixture
def curvature():
    return torch.tensor([0.2, 0.1, 0.05, 0.02, 0.01, 0.0]).double()


def gradient_of(num_classes=K, width=D):
    return torch.randn(num_classes, width, generator=torch.Generator().manual_seed(0)).double()


def test_it_solves_each_class_on_its_own(moment, curvature):
    gradient = gradient_of()
    found = class_preconditioner(*moment, curvature, l2=L2)(gradient.flatten()).view(K, D)
    spread, basis = moment
    shared = (basis * spread) @ basis.T
    blocks = curvature[:, None, None] * shared + L2 * torch.eye(D).double()
    common = gradient.mean(0)
    expected = torch.linalg.solve(blocks, gradient - common)
    expected = expected - expected.mean(0) + common / L2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("l2", [0.0, 1e-9, 1.0])
def test_it_is_symmetric_and_positive(moment, l2):
    """Without a ridge but for one vector added to every class, which changes nothing."""
    curvature = torch.linspace(0.01, 0.2, K).double()
    solve = class_preconditioner(*moment, curvature, l2=l2)
    unit = torch.eye(K * D, dtype=torch.float64)
    inverse = torch.stack([solve(each) for each in unit])
    torch.testing.assert_close(inverse, inverse.T, rtol=1e-5, atol=1e-6 * float(inverse.max()))
    eigenvalues = torch.linalg.eigvalsh(inverse)
    steepest = eigenvalues[-1] if l2 == 0 else eigenvalues[-D - 1]  # what all share: 1 / l2
    assert (eigenvalues > 1e-6 * steepest).sum() == (K if l2 > 0 else K - 1) * D


@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_rows_that_are_sure_leave_the_ridge_alone(moment, l2):
    """No curvature at all, as at a head that every row is certain of."""
    gradient = gradient_of().flatten()
    found = class_preconditioner(*moment, torch.zeros(K).double(), l2=l2)(gradient)
    assert bool(torch.isfinite(found).all())
    if l2 > 0:
        torch.testing.assert_close(found, gradient / l2, rtol=1e-5, atol=1e-6)


def test_it_saves_conjugate_gradients_most_of_their_products():
    """Features of very different spread, as those of a network are."""
    inputs = make_head_inputs(num_classes=K, num_features=D - 1, num_samples=600)
    spread = torch.tensor([3.0, 1.0, 0.3, 0.1])
    inputs = replace(inputs, features=inputs.features * spread)
    unit = float(inputs.features.double().square().sum(-1).mean())
    problem = build_head_problem(inputs, preset_settings("default", method="crt", l2=L2 / unit))
    theta = gradient_of()
    theta = (theta - theta.mean(0)).flatten()
    product = problem.hessian_operator(theta)
    gradient = problem.evaluate(theta, precise=True).gradient
    curvature = problem.loss.curvature(problem.head(theta))

    def products_to_solve(precondition):
        before = problem.passes
        conjugate_gradients(
            product,
            gradient,
            accuracy=1e-2,
            max_products=200,
            least_curvature=0.0,
            precondition=precondition,
        )
        return problem.passes - before

    inverse = class_preconditioner(*problem.loss.moment, curvature, l2=problem.ridge.l2)
    assert products_to_solve(inverse) < 0.6 * products_to_solve(None)
