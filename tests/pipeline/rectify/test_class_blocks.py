"""The rough inverse of a head's Hessian against the dense matrices that it stands for."""

import pytest
import torch
from problems import make_head_inputs

from marr_pipeline.optim.newton import conjugate_gradients
from marr_pipeline.rectify.fit import preset_settings
from marr_pipeline.rectify.head import build_head_problem
from marr_pipeline.rectify.head import solve as class_blocks
from marr_pipeline.rectify.head.solve import ClassBlocks

K, D, L2 = 6, 5, 1e-3
ROOM = 2**20


@pytest.fixture
def problem():
    inputs = make_head_inputs(num_classes=K, num_features=D - 1, num_samples=600)
    return build_head_problem(inputs, preset_settings("default", method="crt", l2=L2))


@pytest.fixture
def theta(problem):
    generator = torch.Generator().manual_seed(3)
    head = torch.randn(K, D, generator=generator, dtype=torch.float64)
    return (head - head.mean(0)).flatten()


def dense_blocks(features, curvature, count):
    """B_k (K, D, D): the `count` strongest rows of each class, and the rest as one moment."""
    features, curvature = features.double(), curvature.double()
    shared = torch.einsum("ik,id,ie->de", curvature, features, features) / curvature.sum()
    blocks = torch.empty(K, D, D, dtype=torch.float64)
    for label in range(K):
        strongest, rows = curvature[:, label].topk(count)
        own = features[rows] * strongest.sqrt()[:, None]
        rest = curvature[:, label].sum() - strongest.sum()
        blocks[label] = own.T @ own + rest * shared
    return blocks + L2 * torch.eye(D, dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 4, 30, 10_000])
def test_it_solves_each_class_on_its_own(problem, theta, count, monkeypatch):
    monkeypatch.setattr(class_blocks, "ROWS_PER_CLASS", count)
    features, curvature = problem.loss.curvature(problem.head(theta))
    gradient = torch.randn(K, D, generator=torch.Generator().manual_seed(0)).double()
    found = ClassBlocks(features, curvature, l2=L2, most_numbers=ROOM).solve(gradient)
    blocks = dense_blocks(features, curvature, min(count, len(features)))
    common = gradient.mean(0)
    expected = torch.linalg.solve(blocks, gradient - common)
    expected = expected - expected.mean(0) + common / L2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("l2", [0.0, 1e-9, 1.0])
def test_it_is_symmetric_and_positive(problem, theta, l2):
    """Without a ridge but for one vector added to every class, which changes nothing."""
    blocks = ClassBlocks(*problem.loss.curvature(problem.head(theta)), l2=l2, most_numbers=ROOM)
    unit = torch.eye(K * D, dtype=torch.float64).view(-1, K, D)
    inverse = torch.stack([blocks.solve(each).flatten() for each in unit])
    torch.testing.assert_close(inverse, inverse.T, rtol=1e-6, atol=1e-6 * float(inverse.max()))
    eigenvalues = torch.linalg.eigvalsh(inverse)
    assert (eigenvalues > 1e-12 * eigenvalues.max()).sum() == (K if l2 > 0 else K - 1) * D


def test_rows_that_are_sure_leave_the_ridge_alone():
    """No curvature at all, as at a head that every row is certain of."""
    features, curvature = torch.ones(7, D), torch.zeros(7, K)
    gradient = torch.randn(K, D, generator=torch.Generator().manual_seed(0)).double()
    found = ClassBlocks(features, curvature, l2=0.5, most_numbers=ROOM).solve(gradient)
    torch.testing.assert_close(found, 2 * gradient)
    assert bool(
        torch.isfinite(
            ClassBlocks(features, curvature, l2=0.0, most_numbers=ROOM).solve(gradient)
        ).all()
    )


def test_it_saves_conjugate_gradients_most_of_their_products(problem, theta):
    product = problem.hessian_operator(theta)
    gradient = problem.evaluate(theta, precise=True).gradient
    blocks = ClassBlocks(*problem.loss.curvature(problem.head(theta)), l2=L2, most_numbers=ROOM)

    def products_to_solve(precondition):
        before = problem.passes
        step = conjugate_gradients(
            product,
            gradient,
            accuracy=1e-3,
            max_products=200,
            least_curvature=0.0,
            precondition=precondition,
        )
        residual = float((product(step) - gradient).norm() / gradient.norm())
        assert residual < 0.01
        return problem.passes - before

    preconditioned = products_to_solve(lambda each: blocks.solve(each.view(K, D)).flatten())
    assert preconditioned < 0.6 * products_to_solve(None)
