import pytest
import torch

from marr_pipeline.rectify.affine import AffineFamily

NORM = torch.tensor([0.5, 2.0, 0.0], dtype=torch.float64)
PIVOT = torch.tensor([0.3, -1.5, 4.0], dtype=torch.float64)
FAMILIES = {
    "temperature": AffineFamily(num_classes=3, scale="shared"),
    "lws": AffineFamily(num_classes=3, scale="per-class"),
    "lws:paper": AffineFamily(num_classes=3, scale="per-class", pivot=PIVOT),
    "marr about a pivot": AffineFamily(
        num_classes=3, scale="per-class", shift_unit=NORM, pivot=PIVOT
    ),
    "marr": AffineFamily(num_classes=3, scale="per-class", shift_unit=NORM),
    "shifts": AffineFamily(num_classes=3, scale="fixed", shift_unit=NORM),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def jacobian(family):
    """(2K, P): columns are what each parameter does to scale and shift."""
    steps = torch.eye(family.num_parameters, dtype=torch.float64)
    return torch.stack([torch.cat(family.direction(step)) for step in steps], dim=1)


def test_identity_leaves_logits_alone(family):
    scale, shift = family.affine(family.identity())
    assert scale.tolist() == [1.0, 1.0, 1.0]
    assert shift.tolist() == [0.0, 0.0, 0.0]


def test_affine_is_its_base_plus_its_direction(family):
    theta = torch.arange(1.0, family.num_parameters + 1).double()
    base = torch.cat(family.affine(torch.zeros_like(theta)))
    moved = torch.cat(family.affine(theta))
    torch.testing.assert_close(moved, base + jacobian(family) @ theta)


def test_pull_back_is_the_transposed_jacobian(family):
    gradient = torch.tensor([1.0, -2.0, 3.0, 0.5, 4.0, -1.0], dtype=torch.float64)
    found = family.pull_back(gradient[:3], gradient[3:])
    torch.testing.assert_close(found, jacobian(family).T @ gradient)


def test_pulled_back_hessian_is_the_congruence(family):
    root = torch.arange(36.0).double().reshape(6, 6).sin()
    hessian = root @ root.T
    found = family.pull_back_hessian(hessian[:3, :3], hessian[:3, 3:], hessian[3:, 3:])
    matrix = jacobian(family)
    torch.testing.assert_close(found, matrix.T @ hessian @ matrix)


def test_a_class_without_norm_has_no_free_shift():
    assert FAMILIES["marr"].free.tolist() == [True] * 5 + [False]
    theta = FAMILIES["marr"].parameters(1.0, torch.tensor([1.0, 1.0, 1.0]).double())
    assert theta.tolist() == [1.0, 1.0, 1.0, 2.0, 0.5, 0.0]
