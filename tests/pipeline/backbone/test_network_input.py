import pytest
import torch
from torchvision import models

from marr_pipeline.backbone import BACKBONES, LARGE_BACKBONES, build_backbone, network_input
from marr_pipeline.backbone.networks.libraries import classifier_names, torchvision_input
from marr_pipeline.data.framing import Framing
from marr_pipeline.data.normalise import NORMALISATIONS, Normalisation, normalise
from marr_pipeline.names import TORCHVISION_BACKBONES, canonical_backbone

HALF, IMAGENET = NORMALISATIONS["half"], NORMALISATIONS["imagenet"]


@pytest.mark.parametrize("name", BACKBONES)
def test_only_the_networks_of_large_images_ask_for_a_size(name):
    known = network_input(name)
    if name in LARGE_BACKBONES:
        assert known.framing == Framing(size=224, resized=256)
        assert known.is_usual
    else:
        assert known is None


@pytest.mark.parametrize(
    ("name", "size"), [("inception_v3", 299), ("swin_v2_t", 256), ("vit_h_14", 224)]
)
def test_torchvisions_networks_have_the_size_of_their_weights(name, size):
    assert network_input(f"torchvision:{name}").framing.size == size


def test_most_of_torchvisions_networks_leave_the_normalisation_to_the_data():
    asking = {name for name in classifier_names() if not torchvision_input(name).is_usual}
    assert asking == {"googlenet", "inception_v3", "efficientnet_v2_l"}


def test_weights_of_googlenet_are_for_pixels_between_minus_one_and_one():
    """torchvision's own network takes ImageNet's and brings them there inside."""
    torch.manual_seed(0)
    theirs = models.googlenet(
        num_classes=5, transform_input=True, aux_logits=False, init_weights=False
    ).eval()
    ours = build_backbone("torchvision:googlenet", 5, in_channels=3, seed=0).eval()
    head = {f"fc.{kind}": getattr(ours.head, kind) for kind in ("weight", "bias")}
    theirs.load_state_dict({**ours.body.state_dict(), **head})
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    pixels = torchvision_input("googlenet").normalisation.of_channels(3)
    with torch.no_grad():
        expected = theirs(normalise(images, IMAGENET))
        torch.testing.assert_close(ours(normalise(images, pixels))[0], expected)


@pytest.mark.parametrize(
    ("name", "size", "mean"),
    [
        ("convnext_tiny", 224, IMAGENET.mean),
        ("vit_base_patch16_384", 384, HALF.of_channels(3).mean),
        ("test_resnet", 160, HALF.of_channels(3).mean),
    ],
)
def test_timms_networks_have_what_timm_takes(name, size, mean):
    timm = pytest.importorskip("timm")
    known = network_input(f"timm:{name}")
    config = timm.data.resolve_data_config(
        {}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
    )
    assert (3, size, size) == config["input_size"] == (3, *[known.framing.size] * 2)
    assert known.normalisation == Normalisation(config["mean"], config["std"])
    assert known.normalisation.mean == mean


@pytest.mark.parametrize("name", TORCHVISION_BACKBONES)
def test_a_network_under_two_names_has_one(name):
    assert canonical_backbone(f"torchvision:{name}") == canonical_backbone(name) == name


def test_a_network_under_two_names_is_one():
    ours, theirs = (
        build_backbone(name, 3, in_channels=3, seed=1).state_dict()
        for name in ("resnet50", "torchvision:resnet50")
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
