import pytest
import torch
from torch import nn

from marr_pipeline import names
from marr_pipeline.backbone import BACKBONES, build_backbone
from marr_pipeline.backbone.networks.resnet import BasicBlock
from marr_pipeline.errors import ConfigError


def test_registries_hold_the_names_a_user_can_type():
    assert tuple(BACKBONES) == names.BACKBONES


@pytest.mark.parametrize(
    ("name", "published"),  # He et al. (2016), table 6, in millions
    [("resnet20", "0.27"), ("resnet32", "0.46"), ("resnet44", "0.66"), ("resnet56", "0.85")],
)
def test_number_of_parameters_is_the_published_one(name, published):
    model = build_backbone(name, 10, in_channels=3, seed=0)
    assert f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.2f}" == published


def test_number_of_parameters_of_resnet32_by_hand():
    model = build_backbone("resnet32", 10, in_channels=3, seed=0)
    convolutions = 9 * (3 * 16 + 10 * 16**2 + 16 * 32 + 9 * 32**2 + 32 * 64 + 9 * 64**2)
    norms = 2 * (11 * 16 + 10 * 32 + 10 * 64)
    assert sum(p.numel() for p in model.parameters()) == convolutions + norms + 650 == 464_154


@pytest.mark.parametrize(
    ("name", "depth"),
    [("resnet8", 8), ("resnet20", 20), ("resnet32", 32), ("resnet44", 44), ("resnet56", 56)],
)
def test_depth_counts_weighted_layers(name, depth):
    model = build_backbone(name, 10, in_channels=1, seed=0)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def test_parameters_bear_the_names_that_public_checkpoints_use():
    state = build_backbone("resnet32", 10, in_channels=3, seed=0).state_dict()
    assert {"conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer3.4.bn2.running_var"} <= {
        *state
    }
    assert state["head.weight"].shape == (10, 64)


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3), (36, 3)])
def test_logits_are_the_head_on_the_features(size, channels):
    model = build_backbone("resnet8", 7, in_channels=channels, seed=0)
    logits, features = model(torch.randn(4, channels, size, size))
    assert features.shape == (4, 64)
    assert (features >= 0).all()
    torch.testing.assert_close(logits, features @ model.head.weight.T + model.head.bias)


def test_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    block = BasicBlock(16, 32, stride=2)
    x = torch.randn(2, 16, 8, 8)
    shortcut = block._shortcut(x)
    assert torch.equal(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert (shortcut[:, :8] == 0).all()
    assert (shortcut[:, 24:] == 0).all()


def test_a_block_with_silent_convolutions_is_its_shortcut():
    block = BasicBlock(16, 16, stride=1).eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(block(x), x.relu())


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    first = build_backbone("resnet8", 10, in_channels=1, seed=5)
    torch.manual_seed(2)
    second = build_backbone("resnet8", 10, in_channels=1, seed=5)
    third = build_backbone("resnet8", 10, in_channels=1, seed=6)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not torch.equal(first.head.weight, third.head.weight)
    assert not torch.equal(first.conv1.weight, third.conv1.weight)


def test_initial_scales_are_kaiming_and_one_over_root_width():
    model = build_backbone("resnet32", 100, in_channels=3, seed=0)
    conv = model.layer3[4].conv1.weight.detach()
    assert float(conv.std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert float(model.head.weight.detach().abs().max()) == pytest.approx(1 / 8, rel=0.01)


def test_an_unknown_backbone_is_answered_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"resnet8, .*, torchvision:NAME or timm:NAME expected, got vgg"
    ):
        build_backbone("vgg", 10, in_channels=3, seed=0)
