import numpy as np
import pytest
import torch
from problems import make_inputs, make_point, rows_of
from reference import central_difference
from scipy.special import log_softmax

from marr_pipeline.rectify.objective import WeightedCrossEntropy

pytestmark = pytest.mark.usefixtures("either_way")


def make_loss(inputs, reduction="plain", seed=3):
    weights = torch.rand(inputs.num_classes, generator=torch.Generator().manual_seed(seed)) + 0.1
    return WeightedCrossEntropy(*rows_of(inputs), weights, reduction=reduction), weights.double()


def reference_loss(inputs, weights, scale, shift, reduction):
    logits, labels = (array.numpy() for array in rows_of(inputs))
    log_probability = log_softmax(scale * logits.astype(np.float64) + shift, axis=1)
    row_weights = weights.numpy()[labels]
    divisor = len(labels) if reduction == "plain" else row_weights.sum()
    return -(row_weights * log_probability[np.arange(len(labels)), labels]).sum() / divisor


@pytest.mark.parametrize("reduction", ["plain", "weighted"])
@pytest.mark.parametrize("num_classes", [1, 2, 7, 100])
def test_loss_is_the_weighted_mean_of_cross_entropies(reduction, num_classes):
    inputs = make_inputs(num_classes=num_classes)
    loss, weights = make_loss(inputs, reduction)
    scale, shift = make_point(num_classes)
    expected = reference_loss(inputs, weights, scale.numpy(), shift.numpy(), reduction)
    assert loss.evaluate(scale, shift, precise=True).value == pytest.approx(expected, rel=1e-12)
    assert loss.evaluate(scale, shift, precise=False).value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("reduction", ["plain", "weighted"])
def test_gradient_matches_central_differences(inputs, reduction):
    loss, weights = make_loss(inputs, reduction)
    scale, shift = make_point(7)
    found = loss.evaluate(scale, shift, precise=True)

    def value(point):
        return reference_loss(inputs, weights, point[:7], point[7:], reduction)

    numeric = central_difference(value, torch.cat([scale, shift]).numpy())
    gradient = found.gradient.flatten().numpy()
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-9)


def test_hessian_matches_differences_of_the_gradient(inputs):
    loss, _ = make_loss(inputs)
    scale, shift = make_point(7)

    def gradient(point, index):
        found = loss.evaluate(
            torch.from_numpy(point[:7]), torch.from_numpy(point[7:]), precise=True
        )
        return float(found.gradient.flatten()[index])

    point = torch.cat([scale, shift]).numpy()
    numeric = np.stack(
        [central_difference(lambda p, row=row: gradient(p, row), point) for row in range(14)]
    )
    scale_scale, mixed, shift_shift = loss.hessian(scale, shift)
    found = np.block([[scale_scale.numpy(), mixed.numpy()], [mixed.numpy().T, shift_shift.numpy()]])
    np.testing.assert_allclose(found, numeric, rtol=1e-4, atol=1e-6)  # float32 inside


def test_hessian_product_is_the_hessian_times_the_step(inputs):
    loss, _ = make_loss(inputs)
    point, step = make_point(7), make_point(7, seed=9)
    scale_scale, mixed, shift_shift = loss.hessian(*point)
    scale_part, shift_part = loss.hessian_product(*point, *step)
    torch.testing.assert_close(
        scale_part, scale_scale @ step[0] + mixed @ step[1], rtol=1e-4, atol=1e-7
    )
    torch.testing.assert_close(
        shift_part, mixed.T @ step[0] + shift_shift @ step[1], rtol=1e-4, atol=1e-7
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_and_cpu_agree(inputs):
    logits, labels = rows_of(inputs)
    point = make_point(7)
    here = WeightedCrossEntropy(logits, labels, torch.ones(7), reduction="plain")
    there = WeightedCrossEntropy(logits.cuda(), labels, torch.ones(7), reduction="plain")
    ours, theirs = here.evaluate(*point, precise=True), there.evaluate(*point, precise=True)
    assert ours.value == pytest.approx(theirs.value, rel=1e-12)
    torch.testing.assert_close(ours.gradient, theirs.gradient)
