"""Heads that compare directions, and what methods draw for their networks."""

import copy
import math

import pytest
import torch

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.extract import head_arrays
from marr_pipeline.backbone.networks.heads import NormalisedHead, draw_linear, method_generator
from marr_pipeline.backbone.training.method import LossMethod, loss_options


def naive_logits(head, features):
    """One number at a time."""
    width = head.in_features // head.parts
    logits = torch.zeros(len(features), head.out_features, dtype=features.dtype)
    for i, z in enumerate(features):
        for j, w in enumerate(head.weight.detach()):
            for h in range(head.parts):
                chunk = slice(h * width, (h + 1) * width)
                unit = z[chunk] / z[chunk].norm()
                logits[i, j] += unit @ w[chunk] / (w[chunk].norm() + head.offset)
            logits[i, j] = logits[i, j] * head.scale / head.parts + head.bias[j]
    return logits


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("offset", [0.0, 1 / 32])
def test_logits_are_the_formulas_and_linear_in_what_is_normalised(parts, offset):
    torch.manual_seed(0)
    head = NormalisedHead(6, 4, scale=16, parts=parts, offset=offset).double()
    head.bias.data.normal_()
    features = torch.randn(5, 6, dtype=torch.float64)
    normalised = head.normalised(features)
    logits = head(normalised)
    torch.testing.assert_close(logits, naive_logits(head, features))
    torch.testing.assert_close(logits, normalised @ head.rows().T + head.bias)
    torch.testing.assert_close(head.normalised(7 * features), normalised)


def test_logits_by_hand():
    head = NormalisedHead(4, 2, scale=10, parts=2, offset=1)
    head.weight.data = torch.tensor([[3.0, 4.0, 0.0, 2.0], [0.0, 0.0, -1.0, 0.0]])
    # Chunks (6, 8) and (0, 5): cosines 1 and 1, lengths 5 and 2 with 1 added; then 0 and 0.
    logits = head(head.normalised(torch.tensor([[6.0, 8.0, 0.0, 5.0]])))
    torch.testing.assert_close(logits, torch.tensor([[5 * (5 / 6 + 2 / 3), 0.0]]))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_zero_features_give_the_bias_in_every_precision(precision):
    head = NormalisedHead(4, 3, scale=30)
    features = torch.zeros(2, 4, dtype=precision, requires_grad=True)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        logits = head(head.normalised(features.relu()))
    assert torch.equal(logits.float(), torch.zeros(2, 3))
    logits.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))
    assert head.weight.grad.isfinite().all()


def test_a_head_begins_uniform_and_leaves_other_generators_alone():
    before = torch.get_rng_state()
    linear, cosine = torch.nn.Linear(400, 300), NormalisedHead(400, 300, scale=1)
    torch.set_rng_state(before)
    draw_linear(linear, method_generator(0))
    draw_linear(cosine, method_generator(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(linear.weight, cosine.weight)
    bound = 1 / math.sqrt(400)
    assert 0.999 * bound < linear.weight.max() <= bound
    assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert linear.bias.abs().max() > 0.9 * bound
    assert not cosine.bias.any()
    assert not cosine.bias.requires_grad


def test_what_a_method_draws_is_independent_of_the_backbone_and_of_other_seeds():
    drawn = [torch.rand(10_000, generator=method_generator(seed)) for seed in (0, 1)]
    drawn.append(torch.rand(10_000, generator=torch.Generator().manual_seed(0)))
    correlations = torch.corrcoef(torch.stack(drawn)) - torch.eye(3)
    assert correlations.abs().max() < 0.04


def test_losses_of_cosines_get_a_head_of_them():
    plain = build_backbone("resnet8", 10, in_channels=1, seed=0)
    ldam = LossMethod("ldam", loss_options("ldam"))
    model = ldam.network(copy.deepcopy(plain), image_shape=(1, 8, 8), seed=0).eval()
    torch.testing.assert_close(model.head.weight.norm(dim=1), torch.ones(10))
    logits, features = model(torch.randn(6, 1, 8, 8))
    weight, bias = head_arrays(model)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(torch.from_numpy(weight).norm(dim=1), torch.full((10,), 30.0))
    torch.testing.assert_close(logits, features @ torch.from_numpy(weight).T)
    assert not bias.any()
    for name, scale in (("seesaw", 0.0), ("seesaw", 20.0), ("softmax", None)):
        options = loss_options(name, [] if scale is None else [f"scale={scale}"])
        network = LossMethod(name, options).network(
            copy.deepcopy(plain), image_shape=(1, 8, 8), seed=0
        )
        assert isinstance(network.head, NormalisedHead) == bool(scale)
