"""A network cut before its last linear layer: what is found, what is refused, what it computes."""

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models import VisionTransformer

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.networks.classifier import check_images, cut_classifier
from marr_pipeline.errors import ConfigError

# One of each place of the last linear layer that is fast enough: fc, classifier, classifier.1, .3.
NETWORKS = ("resnet18", "regnet_y_400mf", "densenet121", "efficientnet_b0", "mobilenet_v3_small")


def tiny_vit():
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32
    )


def with_theirs(name):
    """A network of ours and torchvision's own with the same weights."""
    model = build_backbone(f"torchvision:{name}", 7, in_channels=3, seed=4).eval()
    theirs = models.get_model(name, num_classes=7).eval()
    (head,) = model.head_aliases
    state = {
        key.removeprefix("body.").replace("head.", f"{head}."): value
        for key, value in model.state_dict().items()
    }
    theirs.load_state_dict(state)
    return model, theirs, theirs.get_submodule(head)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_features_are_torchvisions_own(name):
    model, theirs, head = with_theirs(name)
    received = []
    head.register_forward_hook(lambda module, given, result: received.append(given[0]))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, features = model(images)
        assert torch.equal(logits, theirs(images))
    assert torch.equal(features, received[0])
    torch.testing.assert_close(logits, features @ model.head.weight.T + model.head.bias)


@pytest.mark.parametrize(
    ("name", "num_params", "width"),
    [
        ("resnet10", 5_418_792, 512),
        ("resnet50", models.ResNet50_Weights.IMAGENET1K_V1.meta["num_params"], 2048),
        ("resnet152", models.ResNet152_Weights.IMAGENET1K_V1.meta["num_params"], 2048),
        ("resnext50_32x4d", models.ResNeXt50_32X4D_Weights.IMAGENET1K_V1.meta["num_params"], 2048),
    ],
)
def test_number_of_parameters_is_the_published_one(name, num_params, width):
    with torch.device("meta"):
        model = build_backbone(name, 1000, in_channels=3, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_params
    assert model.head.weight.shape == (1000, width)


def test_a_transformer_is_cut_too():
    network = tiny_vit().eval()
    nn.init.normal_(network.heads.head.weight)
    images = torch.randn(2, 3, 32, 32)
    before = network(images)
    model = cut_classifier(network, (3, 32, 32), name="vit")
    assert model.head_aliases == ("heads.head",)
    logits, features = model(images)
    assert torch.equal(logits, before)
    assert features.shape == (2, 16)


def test_a_head_without_a_bias_gets_one_of_zeros():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 3, bias=False))
    images = torch.randn(5, 3, 2, 2)
    before = network(images)
    model = cut_classifier(network, (3, 2, 2), name="net")
    logits, features = model(images)
    assert torch.equal(logits, before)
    assert torch.equal(model.head.bias, torch.zeros(3))
    assert features.shape == (5, 4)


class OfAnotherClass(nn.Linear):
    """Plain, though of another class, as timm's own for mixed precision."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Flatten(), OfAnotherClass(12, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Dropout(0.5), nn.Identity()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1), nn.Flatten()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1, bias=False), nn.Flatten()),
    ],
)
def test_what_is_a_linear_layer_in_effect_is_taken(network):
    images, state = torch.randn(2, 3, 2, 2), torch.random.get_rng_state()
    before = network.eval()(images)
    model = cut_classifier(network, (3, 2, 2), name="net")
    logits, features = model(images)
    torch.testing.assert_close(logits, before)
    torch.testing.assert_close(logits, features @ model.head.weight.T + model.head.bias)
    assert torch.equal(torch.random.get_rng_state(), state)


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(12, 3), nn.Linear(12, 3)

    def forward(self, images):
        return self.one(images.flatten(1)) + self.other(images.flatten(1))


class Twice(nn.Module):
    def __init__(self, *, doubled=False):
        super().__init__()
        self.fc, self.is_doubled = nn.Linear(12, 12), doubled

    def forward(self, images):
        once = self.fc(images.flatten(1))
        return 2 * once if self.is_doubled else self.fc(once)


class Cosine(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(
            nn.functional.normalize(x), nn.functional.normalize(self.weight)
        )


@pytest.mark.parametrize(
    ("network", "ending"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Softmax(1)), r"'2' \(Softmax\)"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten()), r"'0' \(Conv2d\)"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1)), r"'1' \(Conv2d\)"),
        (nn.Sequential(nn.Flatten(), Cosine(12, 3)), r"'1' \(Cosine\)"),
        (nn.Sequential(nn.Flatten(2), nn.Linear(4, 3)), r"'1' \(Linear\)"),
        (Twice(), r"'fc' \(Linear\)"),
        (TwoHeads(), r"2 heads \(one, other\) and a sum of them"),
        (Twice(doubled=True), r"'fc' \(Linear and more computation\)"),
    ],
)
def test_a_network_without_a_last_linear_layer_is_refused(network, ending):
    message = r"net: a network whose logits are one linear layer .* ends in " + ending
    with pytest.raises(ConfigError, match=message):
        cut_classifier(network, (3, 2, 2), name="net")


def test_the_probe_leaves_weights_statistics_and_modes_alone():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)
    ).train()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = cut_classifier(network, (3, 2, 2), name="net")
    assert [module.training for module in network] == [True, False, True, True]
    for name in ("0.weight", "1.running_mean", "1.num_batches_tracked"):
        assert torch.equal(model.body.state_dict()[name], before[name])


class Shared(nn.Module):
    """One layer at two places, as in CoaT, and a buffer that no state dict has, as in Swin."""

    def __init__(self):
        super().__init__()
        layer = nn.Linear(12, 12)
        self.first, self.again, self.fc = layer, nn.Sequential(layer), nn.Linear(12, 3)
        self.register_buffer("shift", torch.ones(12), persistent=False)

    def forward(self, images):
        return self.fc(self.again(self.first(images.flatten(1)) + self.shift))


def test_the_probe_leaves_shared_layers_and_hidden_buffers_alone():
    network, images = Shared(), torch.randn(2, 3, 2, 2)
    before = network(images)
    model = cut_classifier(network, (3, 2, 2), name="net")
    assert torch.equal(model(images)[0], before)
    check_images(model, (3, 2, 2), name="net")
    assert torch.equal(model(images)[0], before)


def test_images_of_a_size_that_the_network_does_not_take_are_refused():
    model = cut_classifier(tiny_vit(), (3, 32, 32), name="vit")
    check_images(model, (3, 32, 32), name="vit")
    with pytest.raises(ConfigError, match=r"vit: .* got 40 x 40 pixels of 3 channels \(Wrong"):
        check_images(model, (3, 40, 40), name="vit")
    with pytest.raises(ConfigError, match=r"resnet8: .* got 8 x 8 pixels of 1 channels"):
        check_images(build_backbone("resnet8", 3, in_channels=3, seed=0), (1, 8, 8), name="resnet8")


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("torchvision:renset50", 3, "got renset50; did you mean resnet50"),
        ("torchvision:", 3, "torchvision:NAME or timm:NAME expected, got torchvision:"),
        ("torchvision:squeezenet1_1", 3, "ends in 'classifier.3'"),
        ("keras:resnet50", 3, "torchvision:NAME or timm:NAME expected, got keras:resnet50"),
        ("torchvision:raft_small", 3, "a classifier of torchvision expected, got raft_small"),
        ("resnet50", 1, "resnet50: images of 3 channels expected, got 1"),
        ("resnet10", 1, "resnet10: images of 3 channels expected, got 1"),
    ],
)
def test_networks_that_cannot_be_built(name, channels, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(name, 3, in_channels=channels, seed=0)
