"""Causal Norm, BBN and Hybrid-SC against the formulas of their papers, one number at a time."""

import copy
import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.extract import extract_split, head_arrays
from marr_pipeline.backbone.networks.heads import NormalisedHead
from marr_pipeline.errors import ConfigError
from marr_pipeline.systems import training_method
from marr_pipeline.systems.hybrid_sc import contrast_of_prototypes, contrast_of_views

CPU = torch.device("cpu")


def network_of(name, *texts, backbone="resnet8", shape=(1, 8, 8), classes=10, seed=0):
    plain = build_backbone(backbone, classes, in_channels=shape[0], seed=seed)
    return training_method(name, texts).network(plain, image_shape=shape, seed=seed)


def loss_of(name, *texts, outputs, labels, progress):
    method = training_method(name, texts)
    return method.loss(outputs, labels, class_counts=torch.ones(10), progress=progress)


def images_of(number, seed=0):
    return torch.randn(number, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


HEAD = 64 * 10 + 10
BLOCK = 2 * (64 * 64 * 9) + 4 * 64
PROJECTION = 64 * 64 + 64 + 64 * 128 + 128
ATTENTION = 3 * (64 * 32 + 32) + 32 * 64 + 64 * 64 * 64 + 64
ADDED = {
    ("causal-norm",): 64 * 10,
    ("bbn",): BLOCK + 128 * 10 + 10,
    ("hybrid-sc",): HEAD + PROJECTION,
    ("hybrid-sc", "variant=psc"): HEAD + PROJECTION + 128 * 10,
    # Hallucinator, selector, cosine head, memory; attention and the layer after it.
    ("oltr",): HEAD + 64 * 64 + 64 + 2 * 64 * 10 + ATTENTION + 64 * 64 + 64,
}


@pytest.mark.parametrize("asked", ADDED, ids=" ".join)
def test_parameters_and_shapes_on_resnet32(asked):
    plain = build_backbone("resnet32", 10, in_channels=3, seed=0)
    body = sum(each.numel() for each in plain.parameters()) - HEAD
    network = network_of(*asked, backbone="resnet32", shape=(3, 32, 32)).eval()
    trained = sum(each.numel() for each in network.parameters() if each.requires_grad)
    assert trained - body == ADDED[asked]
    logits, features = network(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert features.shape == (2, 128 if asked == ("bbn",) else 64)


@pytest.mark.parametrize("name", ["causal-norm", "bbn", "hybrid-sc", "oltr"])
def test_a_seed_decides_the_network_and_its_cached_head_makes_its_logits(name):
    network, again = network_of(name).eval(), network_of(name)
    torch.testing.assert_close(network.state_dict(), again.state_dict(), rtol=0, atol=0)
    other = network_of(name, seed=1).head.weight
    assert not torch.equal(network.head.weight, other)
    if name == "causal-norm":
        network.head.mean.normal_()
    if name == "oltr":
        network.memory.data.normal_()
    logits, features = network(images_of(20))
    weight, bias = (torch.from_numpy(array) for array in head_arrays(network))
    torch.testing.assert_close(logits, features @ weight.T + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["bbn", "oltr"])
def test_networks_that_are_not_residual_are_refused(name):
    with pytest.raises(ConfigError, match=f"--method {name}: a residual network expected"):
        network_of(name, backbone="torchvision:shufflenet_v2_x0_5", shape=(3, 64, 64))


def test_a_residual_network_of_a_library_is_taken_apart_and_put_together():
    plain = build_backbone("resnet10", 4, in_channels=3, seed=0).eval()
    images = torch.randn(2, 3, 64, 64)
    _, features = plain(images)
    branches = training_method("bbn").network(copy.deepcopy(plain), image_shape=(3, 64, 64), seed=0)
    _, both = branches.eval()(images)
    torch.testing.assert_close(both, torch.cat([features, features], dim=1))


# Causal Norm


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 1.5])
def test_test_logits_are_the_total_direct_effect_of_every_image(parts, alpha):
    network = network_of("causal-norm", f"alpha={alpha}", f"parts={parts}").double().eval()
    head, width = network.head, 64 // parts
    head.mean.copy_(torch.randn(64, generator=torch.Generator().manual_seed(1)))
    z = network.features(images_of(3).double())
    expected = torch.zeros(3, 10, dtype=torch.float64)
    for i in range(3):
        for h in range(parts):
            chunk = slice(h * width, (h + 1) * width)
            unit, mean = (
                z[i, chunk] / z[i, chunk].norm(),
                head.mean[chunk] / head.mean[chunk].norm(),
            )
            direct = unit - alpha * (unit @ mean) * mean
            rows = head.weight[:, chunk]
            rows = rows / (rows.norm(dim=1, keepdim=True) + 1 / 32)
            expected[i] += 16 / parts * rows @ direct
    logits, features = network(images_of(3).double())
    torch.testing.assert_close(logits, expected)
    plain = NormalisedHead(64, 10, scale=16, parts=parts, offset=1 / 32).double()
    plain.load_state_dict({"weight": head.weight, "bias": head.bias})
    is_plain = torch.allclose(plain(features), logits)
    assert is_plain == (alpha == 0)
    # Training takes nothing out.
    torch.testing.assert_close(head.train()(features), plain(features))


def test_only_training_moves_the_mean_and_it_has_no_gradient(digits):
    network = network_of("causal-norm").train()
    network.head.mean.copy_(torch.arange(64.0))
    images = images_of(9)
    expected = 0.9 * torch.arange(64.0) + copy.deepcopy(network).features(images).mean(0)
    logits, _ = network(images)
    logits.sum().backward()
    torch.testing.assert_close(network.head.mean, expected.detach())
    kept = network.head.mean.clone()
    for batch_norm in ("eval", "train"):
        options = {"views": ("clean",), "augmentation": "none", "seed": 0, "device": CPU}
        options |= {"normalisation": digits.normalisation, "batch_norm": batch_norm}
        list(extract_split(network, digits.test, **options))
    rows = torch.from_numpy(head_arrays(network)[0])  # those of test time, in training too
    torch.testing.assert_close(rows, copy.deepcopy(network.head).eval().rows().detach())
    assert not torch.allclose(rows, network.head.rows())
    assert torch.equal(network.head.mean, kept)
    assert network.head.training
    assert "head.mean" in network.state_dict()
    assert "head.mean" not in dict(network.named_parameters())


# BBN


def test_a_half_share_of_one_image_is_test_time():
    network = network_of("bbn").eval()
    images = images_of(6)
    mixed = network(torch.cat([images, images]), 0.5)
    torch.testing.assert_close(mixed, network(images))


def test_each_half_has_batch_statistics_of_its_own_and_running_ones_see_both():
    network = network_of("bbn").train()
    apart = copy.deepcopy(network)
    common, rare = images_of(8, seed=1), 3 + 2 * images_of(8, seed=2)
    logits, features = network(torch.cat([common, rare]), 0.8)
    first = apart.common(apart.trunk(common)).mean((2, 3))
    second = apart.rare(apart.trunk(rare)).mean((2, 3))
    torch.testing.assert_close(features, torch.cat([1.6 * first, 0.4 * second], dim=1))
    torch.testing.assert_close(logits, apart.head(features))
    torch.testing.assert_close(dict(network.named_buffers()), dict(apart.named_buffers()))
    assert not torch.equal(network.common.bn1.running_mean, network.rare.bn1.running_mean)


def test_bbn_goes_from_common_to_rare():
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 10), torch.arange(10)
    common, rare = cross_entropy(logits, labels[:5]), cross_entropy(logits, labels[5:])
    for progress, share in ((0.0, 1.0), (0.5, 0.75), (0.999999, 0.0)):
        value = loss_of("bbn", outputs=(logits,), labels=labels, progress=progress)
        torch.testing.assert_close(value, share * common + (1 - share) * rare, atol=1e-5, rtol=0)
    method, network = training_method("bbn"), network_of("bbn").train()
    outputs = method.outputs(network, images_of(10), progress=0.0)
    loss_of("bbn", outputs=outputs, labels=labels, progress=0.0).backward()
    assert not network.rare.conv1.weight.grad.any()
    assert network.common.conv1.weight.grad.any()
    assert method.answers(labels).tolist() == [0, 1, 2, 3, 4]


# Hybrid-SC


def unit(rows, seed=0):
    drawn = torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn.double(), dim=1).requires_grad_()


def naive_contrast(r, labels, tau):
    total = 0.0
    for i in range(len(r)):
        others = [k for k in range(len(r)) if k != i]
        whole = sum(torch.exp(r[i] @ r[k] / tau) for k in others)
        positives = [j for j in others if labels[j] == labels[i]]
        total += sum(-torch.log(torch.exp(r[i] @ r[j] / tau) / whole) for j in positives) / len(
            positives
        )
    return total / len(r)


def naive_prototypes(cosines, labels, tau):
    total = 0.0
    for row, own in zip(cosines, labels.tolist(), strict=True):
        others = sum(torch.exp(row[j] / tau) for j in range(len(row)) if j != own)
        total -= torch.log(torch.exp(row[own] / tau) / others)
    return total / len(cosines)


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_contrasts_and_their_gradients_are_those_of_the_naive_loops(tau):
    labels = torch.tensor([0, 2, 0, 1, 1, 2, 0])
    for loss, naive in (
        (contrast_of_views, naive_contrast),
        (contrast_of_prototypes, naive_prototypes),
    ):
        r = unit(7)
        value, expected = loss(r, labels, temperature=tau), naive(r, labels, tau)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(
            torch.autograd.grad(value, r), torch.autograd.grad(expected, r), rtol=1e-9, atol=1e-9
        )


def test_limits_of_the_contrasts():
    same = torch.ones(6, 1) / 1.0
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert contrast_of_views(same, labels, temperature=0.1).item() == pytest.approx(math.log(5))
    assert contrast_of_views(same[:2], labels[:2], temperature=0.1).item() == pytest.approx(0)
    blocks = torch.eye(3)[labels]  # the positive alone is near: 1 against 4 others of cosine 0
    expected = math.log(1 + 4 * math.exp(-2))
    assert contrast_of_views(blocks, labels, temperature=0.5).item() == pytest.approx(expected)
    equal = contrast_of_prototypes(torch.zeros(2, 4), labels[:2], temperature=1.0)
    assert equal.item() == pytest.approx(math.log(3))
    won = contrast_of_prototypes(torch.eye(4)[:1], labels[:1], temperature=0.1)
    assert won.item() == pytest.approx(math.log(3) - 10)  # the positive is not below the line


@pytest.mark.parametrize("variant", ["sc", "psc"])
def test_hybrid_sc_goes_from_contrast_to_the_head(variant):
    option = f"variant={variant}"
    network, method = (
        network_of("hybrid-sc", option).train(),
        training_method("hybrid-sc", [option]),
    )
    apart = copy.deepcopy(network)
    images, labels = images_of(24), torch.arange(24) % 8 % 3
    outputs = method.outputs(network, images, progress=0.0)
    logits, projected = outputs[:2]
    assert projected.shape == (16, 128)
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(16))
    torch.testing.assert_close(logits, apart.head(apart.features(images[16:])))
    raw = apart.projection(apart.features(images[:16]))
    torch.testing.assert_close(projected, raw / raw.norm(dim=1, keepdim=True))
    torch.testing.assert_close(dict(network.named_buffers()), dict(apart.named_buffers()))
    if variant == "sc":
        contrast = naive_contrast(projected, labels[:16], 0.1)
    else:
        rows = network.prototypes.weight
        cosines = projected @ (rows / rows.norm(dim=1, keepdim=True)).T
        torch.testing.assert_close(outputs[2], cosines)
        contrast = naive_prototypes(cosines, labels[:16], 0.1)
    plain = cross_entropy(logits, labels[16:])
    for progress, share in ((0.5, 0.75), (0.999999, 0.0), (0.0, 1.0)):
        value = loss_of("hybrid-sc", option, outputs=outputs, labels=labels, progress=progress)
        torch.testing.assert_close(value, share * contrast + (1 - share) * plain, atol=2e-5, rtol=0)
    value.backward()
    assert not network.head.weight.grad.any()
    assert all(each.grad is not None for each in network.parameters())
    assert method.answers(labels).tolist() == labels[16:].tolist()
