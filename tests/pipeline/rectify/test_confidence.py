"""DisAlign's loss, gradient and curvature against the released code's form."""

from dataclasses import replace

import pytest
import torch
from problems import make_featured_inputs, make_theta, rows_of
from reference import released_logits, released_loss

from marr_pipeline.rectify.confidence import ConfidenceCrossEntropy
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.rectifier import ConfidenceRectifier


def weights_of(inputs, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(inputs.num_classes, generator=generator).double() + 0.1


def make_loss(inputs, reduction="weighted", *, weights=None, **options):
    logits, labels = inputs.source()
    features = inputs.features.flatten(0, 1)
    weights = weights_of(inputs) if weights is None else weights
    return ConfidenceCrossEntropy(logits, features, labels, weights, reduction=reduction, **options)


def released(theta, inputs, reduction):
    theta = theta.clone().requires_grad_()
    loss = released_loss(theta, inputs, weights_of(inputs), reduction)
    (gradient,) = torch.autograd.grad(loss, theta)
    return float(loss.detach()), gradient


def rectifier_of(parts):
    scale, shift, direction, bias = parts
    return ConfidenceRectifier(
        scale=scale, shift=shift, confidence_weight=direction, confidence_bias=bias
    )


@pytest.mark.parametrize("reduction", ["plain", "weighted"])
@pytest.mark.parametrize("num_classes", [1, 2, 7, 50])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_loss_and_gradient_are_those_of_the_released_form(reduction, num_classes, dtype):
    inputs = make_featured_inputs(num_classes=num_classes, dtype=dtype)
    inputs = replace(inputs, logits=inputs.logits.to(dtype))
    theta = make_theta(inputs)
    value, gradient = released(theta, inputs, reduction)
    loss = make_loss(inputs, reduction)
    exact, quick = (loss.evaluate(theta, precise=precise) for precise in (True, False))
    assert exact.value == pytest.approx(value, rel=1e-12, abs=1e-15)
    torch.testing.assert_close(exact.gradient, gradient, rtol=1e-10, atol=1e-12)
    assert quick.value == pytest.approx(value, rel=1e-5, abs=1e-15)
    torch.testing.assert_close(quick.gradient, gradient, rtol=1e-4, atol=1e-5)


def test_at_the_identity_nothing_pulls_at_the_confidence():
    inputs = make_featured_inputs()
    theta = make_theta(inputs)
    theta[:7], theta[7:14] = 1.0, 0.0
    found = make_loss(inputs).evaluate(theta, precise=True).gradient
    assert torch.equal(found[14:], torch.zeros(5, dtype=torch.float64))
    assert float(found[:14].abs().min()) > 0


def test_full_confidence_is_the_affine_core():
    inputs = make_featured_inputs()
    theta = make_theta(inputs)
    theta[14:18], theta[18] = 0.0, 800.0
    logits, labels = inputs.source()
    affine = WeightedCrossEntropy(logits, labels, weights_of(inputs), reduction="weighted")
    expected = affine.evaluate(theta[:7], theta[7:14], precise=True)
    loss = make_loss(inputs)
    found = loss.evaluate(theta, precise=True)
    assert found.value == pytest.approx(expected.value, rel=1e-14)
    torch.testing.assert_close(found.gradient[:14], expected.gradient.flatten())
    assert found.largest_row_loss == pytest.approx(expected.largest_row_loss)
    scale, mixed, shift = affine.hessian(theta[:7], theta[7:14])
    hessian = torch.cat([torch.cat([scale, mixed], 1), torch.cat([mixed.T, shift], 1)])
    torch.testing.assert_close(loss.hessian(theta)[:14, :14], hessian, rtol=1e-5, atol=1e-6)


def test_the_rectifier_makes_the_logits_of_the_loss():
    inputs = make_featured_inputs()
    theta = make_theta(inputs)
    rectifier = rectifier_of(make_loss(inputs).split(theta))
    expected = released_logits(theta, inputs.logits.double(), inputs.features.double())
    torch.testing.assert_close(rectifier.apply(inputs.logits, inputs.features), expected)
    centred = rectifier.centred()
    assert float(centred.shift.mean()) == pytest.approx(0.0, abs=1e-15)
    torch.testing.assert_close(
        centred.apply(inputs.logits, inputs.features).softmax(-1), expected.softmax(-1)
    )


def gauss_newton(theta, inputs, weights):
    """By autograd: J^T (diag P - P P^T) J of every row, in the weighted mean."""
    logits, labels = rows_of(inputs)
    logits, features = logits.double(), inputs.features.flatten(0, 1).double()
    jacobian = torch.func.jacrev(lambda point: released_logits(point, logits, features))(theta)
    p = released_logits(theta, logits, features).softmax(1)
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    row_weights = weights[labels] / weights[labels].sum()
    return torch.einsum("r,rkp,rkl,rlq->pq", row_weights, jacobian, curvature, jacobian)


@pytest.mark.parametrize("num_features", [1, 4])
def test_hessian_is_two_blocks_of_the_gauss_newton_matrix(num_features):
    inputs = make_featured_inputs(num_classes=5, num_samples=60, num_features=num_features)
    theta = make_theta(inputs)
    found = make_loss(inputs).hessian(theta)
    expected = gauss_newton(theta, inputs, weights_of(inputs))
    expected[:10, 10:] = 0.0
    expected[10:, :10] = 0.0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert float(torch.linalg.eigvalsh(found).min()) > -1e-5
