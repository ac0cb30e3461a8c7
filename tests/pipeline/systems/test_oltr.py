"""OLTR's attention, memory and head against the formulas, one image at a time."""

import pytest
import torch

from marr_pipeline.backbone import build_backbone
from marr_pipeline.data.normalise import normalise
from marr_pipeline.systems import training_method
from marr_pipeline.systems.oltr import ModulatedAttention, memory_loss

CPU = torch.device("cpu")


def network_of(*texts, classes=10):
    plain = build_backbone("resnet8", classes, in_channels=1, seed=0)
    network = training_method("oltr", texts).network(plain, image_shape=(1, 8, 8), seed=0)
    torch.nn.init.normal_(network.memory, generator=torch.Generator().manual_seed(1))
    return network.double()


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_attention_is_that_of_the_naive_loops():
    generator = torch.Generator().manual_seed(0)
    block = ModulatedAttention(6, 4, starts_as_identity=False, generator=generator).double()
    for layer in (block.query, block.key, block.value):
        layer.bias.data = drawn(3)
    for maps in drawn(2, 6, 2, 2):
        cells = maps.flatten(1).T  # 4 cells of 6 numbers
        query, key, value = (
            cells @ layer.weight[:, :, 0, 0].T + layer.bias
            for layer in (block.query, block.key, block.value)
        )
        shares = (block.spatial.weight @ maps.flatten() + block.spatial.bias).softmax(0)
        expected = torch.empty(6, 4, dtype=torch.float64)
        for i in range(4):
            weights = torch.exp(torch.stack([query[i] @ key[j] for j in range(4)]))
            attended = sum(weights[j] / weights.sum() * value[j] for j in range(4))
            expected[:, i] = cells[i] + shares[i] * (block.back.weight[:, :, 0, 0] @ attended)
        torch.testing.assert_close(block(maps[None])[0].flatten(1), expected)


def test_the_mask_is_drawn_or_begins_at_zero():
    images = drawn(3, 1, 8, 8)
    for texts, is_identity in (((), False), (("starts_as_identity=true",), True)):
        network = network_of(*texts).eval()
        maps = network.stages(images)
        assert torch.equal(network.attention(maps), maps) == is_identity
    # N(0, 2 / outputs), as the released network's initialisation leaves all four.
    block = ModulatedAttention(256, 1, starts_as_identity=False, generator=torch.Generator())
    assert block.back.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert block.query.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.02)
    assert not block.query.bias.any()


def test_logits_are_the_formulas():
    network = network_of().eval()
    images, memory = drawn(5, 1, 8, 8), network.memory.detach()
    logits, features = network(images)
    for image, found, row in zip(images, features, logits, strict=True):
        maps = network.attention(network.stages(image[None]))
        v = (network.direct.weight @ maps[0].mean((1, 2)) + network.direct.bias).clamp(min=0)
        torch.testing.assert_close(network.direct_features(image[None])[0], v)
        remembered = network.hallucinator(v).softmax(0) @ memory
        enriched = v + torch.tanh(network.selector(v)) * remembered
        reach = 10 / min((v - centroid).norm() for centroid in memory)
        torch.testing.assert_close(found, reach * enriched / (1 + (reach * enriched).norm()))
        rows = network.head.weight / network.head.weight.norm(dim=1, keepdim=True)
        torch.testing.assert_close(row, 16 * rows @ found)
        # Reach and squashing are positive numbers: they never change the class.
        assert row.argmax() == (rows @ enriched).argmax()


def test_an_image_on_its_centroid_and_one_without_features_stay_finite():
    network = network_of().train()
    network.direct.bias.data[:] = -100.0  # v = 0 for every image
    network.memory.data[3] = 0
    logits, _, direct, memory = network(drawn(4, 1, 8, 8), parts=True)
    assert not direct.any()
    (logits.sum() + memory_loss(direct, memory, torch.arange(4), memory_weight=1.0)).backward()
    for name, each in network.named_parameters():
        assert each.grad is None or each.grad.isfinite().all(), name


def test_cross_entropy_gives_the_memory_no_gradient():
    network = network_of().train()
    logits, _, direct, memory = network(drawn(4, 1, 8, 8), parts=True)
    assert memory is network.memory
    logits.logsumexp(1).sum().backward()
    assert network.memory.grad is None
    assert network.hallucinator.weight.grad.any()
    assert direct.requires_grad


LABELS = torch.tensor([0, 0, 0, 2, 3])


@pytest.mark.parametrize("weight", [1.0, 0.01])
@pytest.mark.parametrize("spread", [0.1, 5.0])
def test_the_memory_s_loss_and_its_stated_gradients(weight, spread):
    """Near centroids repel; far ones are clamped."""
    v, memory = drawn(5, 6).requires_grad_(), (spread * drawn(4, 6, seed=1)).requires_grad_()
    value = memory_loss(v, memory, LABELS, memory_weight=weight)
    value.backward()
    attraction = sum((v[i] - memory[y]).square().sum() for i, y in enumerate(LABELS)) / 10
    pairs = [(i, j) for i in range(5) for j in range(4) if j != LABELS[i]]
    squares = sum((v[i] - memory[j]).square().sum() for i, j in pairs)
    repulsion = (10 - squares / 20).clamp(min=0)
    assert (repulsion > 0) == (spread < 1)
    torch.testing.assert_close(value, 0.01 * (attraction + 0.01 * repulsion))
    expected = torch.zeros_like(memory)
    for j, count in enumerate((3, 0, 1, 1)):
        own = [memory[j] - v[i] for i in range(5) if LABELS[i] == j]
        expected[j] = weight * sum(own, torch.zeros(6)) / ((1 + count) * 5)
        if spread < 1:
            far = [memory[j] - v[i] for i in range(5) if LABELS[i] != j]
            expected[j] -= 0.01 * 0.01 * 2 * sum(far) / 20
    torch.testing.assert_close(memory.grad, expected)
    (natural,) = torch.autograd.grad(0.01 * (attraction + 0.01 * repulsion), v)
    torch.testing.assert_close(v.grad, natural)


def test_the_loss_is_cross_entropy_and_the_memory_s():
    logits, v, memory = drawn(5, 4), drawn(5, 6), drawn(4, 6)
    for text, weight in (("false", 1.0), ("true", 0.01)):
        memory = memory.detach().requires_grad_()
        method = training_method("oltr", [f"scales_memory_gradient={text}"])
        outputs = (logits, v, v, memory)
        value = method.loss(outputs, LABELS, class_counts=torch.ones(4), progress=0.5)
        part = memory_loss(v, memory, LABELS, memory_weight=weight)
        torch.testing.assert_close(value, torch.nn.functional.cross_entropy(logits, LABELS) + part)
        torch.testing.assert_close(
            torch.autograd.grad(value, memory), torch.autograd.grad(part, memory)
        )


def test_the_memory_begins_at_the_means_of_the_classes(make_plan, digits):
    plan = make_plan(method="oltr")
    model = plan.initial_model().train()
    for norm in (each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_()
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    plan.method.prepare(model, digits, device=CPU)
    assert model.training
    torch.testing.assert_close(dict(model.named_buffers()), buffers, rtol=0, atol=0)
    model.eval()
    images = normalise(digits.train.images, digits.normalisation)
    with torch.no_grad():
        direct = model.direct_features(images)
    for label in range(10):
        own = direct[digits.train.labels == label]
        torch.testing.assert_close(model.memory[label].detach(), own.mean(0))


def test_what_follows_v_learns_at_the_rate_and_all_else_at_a_tenth():
    network = network_of()
    groups = list(training_method("oltr").rate_factors(network))
    names = {id(each): name for name, each in network.named_parameters()}
    factors = {names[id(each)]: factor for group, factor in groups for each in group}
    assert sum(len(group) for group, _ in groups) == len(names) == len(factors)
    fast = {name.split(".")[0] for name, factor in factors.items() if factor == 1.0}
    assert fast == {"hallucinator", "selector", "head"}
    assert {factor for name, factor in factors.items() if name.split(".")[0] not in fast} == {0.1}
