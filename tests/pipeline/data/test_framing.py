"""How an image is brought to the size that published weights ask for: as their libraries do it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms.v2 import functional

from marr_pipeline.backbone import network_input
from marr_pipeline.data.framing import Framing
from marr_pipeline.data.normalise import normalise


@pytest.fixture
def picture(rng):
    return Image.fromarray(rng.integers(0, 256, (300, 410, 3), dtype=np.uint8))


def network_pixels(picture, known):
    """(3, H, W) as a network gets it."""
    pixels = functional.pil_to_tensor(known.framing(picture))[None]
    return normalise(pixels, known.normalisation)[0]


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "vit_b_16", "convnext_tiny"])
def test_torchvisions_transform_is_theirs(picture, name):
    theirs = models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
    ours = network_pixels(picture, network_input(f"torchvision:{name}"))
    torch.testing.assert_close(ours, theirs(picture), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "name",
    [
        "tf_efficientnet_lite0",
        "resnet50.a1_in1k",
        "vit_base_patch16_clip_224.openai",
        "vit_base_patch16_siglip_224.webli",  # both sides resized
    ],
)
def test_timms_transform_is_theirs(picture, name):
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg(name).to_dict()
    theirs = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=config))
    ours = network_pixels(picture, network_input(f"timm:{name}"))
    torch.testing.assert_close(ours, theirs(picture), atol=1e-5, rtol=0)


def test_another_size_shows_the_same_share_as_timm_does(picture):
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg("tf_efficientnet_lite0").to_dict()
    resolved = timm.data.resolve_data_config({"img_size": 160}, pretrained_cfg=config)
    theirs = timm.data.create_transform(**resolved)(picture)
    known = network_input("timm:tf_efficientnet_lite0")
    framing = known.framing.at(160)
    assert framing == Framing(size=160, resized=182, interpolation="bicubic")
    ours = normalise(functional.pil_to_tensor(framing(picture))[None], known.normalisation)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_small_images_are_shown_whole_and_as_pictures_are(rng):
    pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    framing = Framing(size=160, resized=182, interpolation="bicubic").whole()
    assert framing.text == "whole image to 160 (bicubic)"
    ours = framing(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
    resized = Image.fromarray(pixels).resize((160, 160), Image.Resampling.BICUBIC)
    theirs = functional.pil_to_tensor(resized)
    assert (ours.int() - theirs.int()).abs().max() <= 1


def test_the_text_says_what_is_cut_out():
    assert Framing(size=224, resized=256).text == "short side 256 (bilinear), centre 224"
