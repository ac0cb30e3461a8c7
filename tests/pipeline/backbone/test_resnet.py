import pytest
import torch

from marr_pipeline.backbone import build_backbone
from marr_pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "published"),  # He et al. (2016), table 6, in millions
    [("resnet20", "0.27"), ("resnet32", "0.46"), ("resnet44", "0.66"), ("resnet56", "0.85")],
)
def test_number_of_parameters_is_the_published_one(name, published):
    model = build_backbone(name, 10, in_channels=3, seed=0)
    assert f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.2f}" == published


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3), (36, 3)])
def test_logits_are_the_head_on_the_features(size, channels):
    model = build_backbone("resnet8", 7, in_channels=channels, seed=0)
    logits, features = model(torch.randn(4, channels, size, size))
    assert features.shape == (4, 64)
    assert (features >= 0).all()
    torch.testing.assert_close(logits, features @ model.head.weight.T + model.head.bias)


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
