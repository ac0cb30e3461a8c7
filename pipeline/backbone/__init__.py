"""Networks by name."""

from collections.abc import Callable
from functools import partial

from marr_pipeline import names
from marr_pipeline.backbone.networks.classifier import Backbone, BackboneBuilder
from marr_pipeline.backbone.networks.libraries import (
    NetworkInput,
    resnet10,
    timm_input,
    timm_network,
    torchvision_input,
    torchvision_network,
)
from marr_pipeline.backbone.networks.resnet import cifar_resnet
from marr_pipeline.data.framing import Framing
from marr_pipeline.data.normalise import NORMALISATIONS
from marr_pipeline.errors import ConfigError

BACKBONES: dict[str, BackboneBuilder] = {
    "resnet8": partial(cifar_resnet, 8),
    "resnet20": partial(cifar_resnet, 20),
    "resnet32": partial(cifar_resnet, 32),
    "resnet44": partial(cifar_resnet, 44),
    "resnet56": partial(cifar_resnet, 56),
    "resnet10": resnet10,
    "resnet50": partial(torchvision_network, "resnet50"),
    "resnet152": partial(torchvision_network, "resnet152"),
    "resnext50_32x4d": partial(torchvision_network, "resnext50_32x4d"),
}

LIBRARIES = {"torchvision": torchvision_network, "timm": timm_network}
"""Whose networks go by `torchvision:NAME` and `timm:NAME`."""

INPUTS: dict[str, Callable[[str], NetworkInput]] = {
    "torchvision": torchvision_input,
    "timm": timm_input,
}
"""What they ask of images."""

IMAGENET_INPUT = NetworkInput(
    framing=Framing.of_training_code(224),
    normalisation=NORMALISATIONS["imagenet"],
    is_usual=True,
)
LARGE_BACKBONES = ("resnet10", *names.TORCHVISION_BACKBONES)
"""Those of `BACKBONES` that were made for ImageNet's images."""


def build_backbone(name: str, num_classes: int, *, in_channels: int, seed: int) -> Backbone:
    """A freshly initialised network; its weights are a function of the arguments alone.

    Args:
        name: a key of `BACKBONES`, `torchvision:NAME` or `timm:NAME`.
        num_classes: K.
        in_channels: of the images.
        seed: of the initial weights.

    Raises:
        ConfigError: an unknown name, a network without a last linear layer, or images that it
            does not take.
    """
    library, inner = _library(name)
    if library:
        return LIBRARIES[library](inner, num_classes, in_channels=in_channels, seed=seed)
    if name not in BACKBONES:
        raise ConfigError(
            f"backbone: one of {', '.join(BACKBONES)}, torchvision:NAME or timm:NAME expected, "
            f"got {name}; choose one"
        )
    return BACKBONES[name](num_classes, in_channels=in_channels, seed=seed)


def network_input(name: str) -> NetworkInput | None:
    """The images that a network was made for; None for those that take small images of any size.

    Args:
        name: as `build_backbone` takes it.

    Raises:
        ConfigError: an unknown name of a library's, or one that is not installed.
    """
    library, inner = _library(name)
    if library:
        return INPUTS[library](inner)
    return IMAGENET_INPUT if name in LARGE_BACKBONES else None


def _library(name: str) -> tuple[str, str]:
    """A library and its own name of the network; two empty texts where it is none of theirs."""
    library, _, inner = name.partition(":")
    return (library, inner) if inner and library in LIBRARIES else ("", "")
