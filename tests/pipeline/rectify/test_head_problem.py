import math

import numpy as np
import pytest
import torch
from problems import make_head_inputs

from marr_pipeline.rectify import head as head_problem
from marr_pipeline.rectify.head import HeadCrossEntropy
from marr_pipeline.rectify.inputs import class_weights
from marr_pipeline.rectify.rows import blocks

K, D = 5, 4
PRECISIONS = (torch.float32, torch.bfloat16)


@pytest.fixture(params=PRECISIONS, ids=str, autouse=True)
def precision(request, monkeypatch):
    """That of the Hessian's matrix products, whatever this processor is fast in."""
    monkeypatch.setattr(head_problem, "fast_precision", lambda device: request.param)
    return request.param


def rows_of(inputs):
    return inputs.features.flatten(0, 1), inputs.labels.repeat(inputs.num_views)


def make_loss(inputs, *, gamma=1.0, reduction="weighted", offset=None, **options):
    weights = class_weights(inputs.class_counts, gamma)
    return HeadCrossEntropy(
        *rows_of(inputs), weights, reduction=reduction, offset=offset, **options
    )


def make_head(seed=1, num_classes=K, num_features=D):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_classes, num_features + 1, generator=generator, dtype=torch.float64)


def torch_loss(inputs, head, *, gamma, reduction, offset):
    """The loss in plain torch, and twice differentiable."""
    features, labels = rows_of(inputs)
    logits = features.double() @ head[:, :-1].T + head[:, -1] + (0 if offset is None else offset)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    weights = class_weights(inputs.class_counts, gamma)[labels]
    divisor = len(labels) if reduction == "plain" else weights.sum()
    return (weights * losses).sum() / divisor


@pytest.mark.parametrize("num_classes", [2, 5, 30, 50])  # short rows lie transposed in memory
@pytest.mark.parametrize("reduction", ["plain", "weighted"])
@pytest.mark.parametrize("has_offset", [False, True])
def test_loss_and_gradient_are_those_of_autograd(num_classes, reduction, has_offset):
    inputs = make_head_inputs(num_classes=num_classes)
    offset = inputs.class_counts.double().log() if has_offset else None
    head = make_head(num_classes=num_classes).requires_grad_()
    value = torch_loss(inputs, head, gamma=1.2, reduction=reduction, offset=offset)
    (gradient,) = torch.autograd.grad(value, head)
    expected = float(value.detach())
    loss = make_loss(inputs, gamma=1.2, reduction=reduction, offset=offset)
    precise = loss.evaluate(head.detach(), precise=True)
    assert precise.value == pytest.approx(expected, rel=1e-13)
    torch.testing.assert_close(precise.gradient, gradient, rtol=1e-11, atol=1e-13)
    quick = loss.evaluate(head.detach(), precise=False)
    assert quick.value == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(quick.gradient, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_classes", [5, 30])
@pytest.mark.parametrize("keeps", [True, False])
def test_hessian_product_is_that_of_autograd(num_classes, keeps, precision, monkeypatch):
    """In bfloat16, of 8 bits, to a hundredth; probabilities that are not kept are made in it."""
    monkeypatch.setattr(head_problem, "KEPT_BYTES", 2**20 if keeps else 0)
    inputs = make_head_inputs(num_classes=num_classes)
    offset = inputs.class_counts.double().log()
    head, step = (make_head(seed, num_classes=num_classes) for seed in (1, 2))

    def value(at):
        return torch_loss(inputs, at, gamma=1.0, reduction="weighted", offset=offset)

    _, expected = torch.autograd.functional.hvp(value, head, step)
    product = make_loss(inputs, offset=offset).hessian(head)
    error = float((product(step) - expected).norm() / expected.norm())
    assert error < (1e-5 if precision is torch.float32 else 1e-2)
    assert precision is torch.float32 or error > 1e-4  # it is in bfloat16 indeed
    assert torch.equal(product(step), product(step))


def test_what_all_classes_share_has_no_curvature():
    """Where rounding left some, a ridge of 1e-5 could not tell it from a hollow."""
    inputs = make_head_inputs(num_classes=30)
    product = make_loss(inputs).hessian(make_head(num_classes=30))
    shared = make_head(num_classes=1).expand(30, -1)
    assert float(product(shared).abs().max()) < 1e-12
    step = make_head(seed=2, num_classes=30)
    assert float(product(step).sum(0).abs().max()) < 1e-12


def test_gradients_know_no_bfloat16():
    """Both arithmetics of a pass, on which steps and certificate rest, for any of the products'."""
    inputs, head = make_head_inputs(), make_head()
    value = make_loss(inputs).evaluate(head, precise=False)
    exact = make_loss(inputs).evaluate(head, precise=True)
    torch.testing.assert_close(value.gradient, exact.gradient, rtol=1e-4, atol=1e-6)


def test_moment_and_curvature_are_those_of_the_rows():
    inputs, head = make_head_inputs(), make_head()
    offset = inputs.class_counts.double().log()
    loss = make_loss(inputs, offset=offset)
    features, labels = rows_of(inputs)
    rows = torch.cat([features, torch.ones_like(features[:, :1])], 1).double()
    weights = class_weights(inputs.class_counts, 1.0)[labels]
    spread, basis = loss.moment
    expected = (rows * weights[:, None]).T @ rows / weights.sum()
    torch.testing.assert_close((basis * spread) @ basis.T, expected, rtol=1e-5, atol=1e-6)
    p = torch.softmax(rows @ head.T + offset, 1)
    curvature = (weights / weights.sum()) @ (p * (1 - p))
    torch.testing.assert_close(loss.curvature(head), curvature, rtol=1e-5, atol=1e-9)


def test_many_chunks_and_blocks_give_the_sums_of_one(precision, monkeypatch):
    inputs, head, step = make_head_inputs(num_samples=700), make_head(), make_head(seed=2)
    whole = make_loss(inputs).evaluate(head, precise=True)
    product = make_loss(inputs).hessian(head)(step)
    monkeypatch.setitem(blocks.CHUNK_LOGITS, "cpu", (500, 2000))
    monkeypatch.setitem(blocks.BLOCK_BYTES, "cpu", 400)
    monkeypatch.setattr(head_problem, "MIN_BLOCK_ROWS", 7)
    cut = make_loss(inputs).evaluate(head, precise=True)
    assert cut.value == pytest.approx(whole.value, rel=1e-13)
    assert cut.largest_row_loss == pytest.approx(whole.largest_row_loss, rel=1e-13)
    torch.testing.assert_close(cut.gradient, whole.gradient, rtol=1e-12, atol=1e-14)
    in_parts = make_loss(inputs).hessian(head)(step)
    error = float((in_parts - product).norm() / product.norm())
    assert error < (1e-6 if precision is torch.float32 else 1e-2)


def test_half_precision_features_are_read_as_they_are(tmp_path):
    """Mapped from a file, float16, and never copied whole: the rows that float32 holds too."""
    inputs = make_head_inputs(dtype=torch.float16)
    features, labels = rows_of(inputs)
    np.save(tmp_path / "features.npy", features.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "features.npy", mmap_mode="c"))
    weights, head = torch.ones(K, dtype=torch.float64), make_head()
    half, single = (
        HeadCrossEntropy(each, labels, weights, reduction="plain").evaluate(head, precise=False)
        for each in (mapped, features.float())
    )
    assert half.value == single.value
    assert torch.equal(half.gradient, single.gradient)


def test_an_offset_does_not_feign_a_separation():
    features, labels, head = torch.tensor([[1.0, 0.0]]), torch.tensor([0]), torch.zeros(2, 3)
    offset = torch.tensor([5.0, 0.0])
    loss = HeadCrossEntropy(features, labels, torch.ones(2), reduction="plain", offset=offset)
    assert loss.evaluate(head, precise=True).largest_row_loss < math.log(2)
    assert not loss.is_separated(head)
