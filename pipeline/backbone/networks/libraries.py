"""Networks of torchvision and timm by their own names: the network, its images, its weights.

timm is an extra and loaded when a network of it is asked for. ResNet-10 is made of torchvision's
blocks.
"""

import contextlib
import logging
import math
import pickle
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, hub
from torchvision import models
from torchvision.models import WeightsEnum
from torchvision.models.resnet import BasicBlock, ResNet

from marr_pipeline.backbone.networks.classifier import Classifier, build_classifier
from marr_pipeline.data.framing import Framing
from marr_pipeline.data.normalise import NORMALISATIONS, Normalisation
from marr_pipeline.errors import ConfigError, PipelineError, first_line

# Without these, the two return a tuple in training and warn about their own defaults.
_SETTINGS: dict[str, dict[str, bool]] = {
    name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")
}
# The first is what published results start from; the second has the image size of the network.
_PREFERRED_WEIGHTS = ("IMAGENET1K_V1", "IMAGENET1K_SWAG_LINEAR_V1")
# DenseNet's weights are older than the names of its layers.
_OLD_DENSENET_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)")


@dataclass(frozen=True, kw_only=True)
class NetworkInput:
    """What the weights that a library publishes for a network ask of images.

    Attributes:
        framing: how an image becomes one of their size.
        normalisation: of the pixels.
        is_usual: whether a training may as well take the dataset's normalisation, as where it is
            ImageNet's.
        num_classes: that they tell apart, 1000 for ImageNet's; 0 where they have no head.
    """

    framing: Framing
    normalisation: Normalisation
    is_usual: bool = False
    num_classes: int = 1000


def classifier_names() -> list[str]:
    """Of all classifiers that torchvision has."""
    names: list[str] = models.list_models(module=models)
    return names


def torchvision_network(name: str, num_classes: int, *, in_channels: int, seed: int) -> Classifier:
    """A classifier of torchvision with fresh weights.

    Args:
        name: one of `classifier_names`.
        num_classes: K.
        in_channels: 3.
        seed: of the initial weights.

    Raises:
        ConfigError: an unknown network, one without a last linear layer, or images not of colour.
    """
    _check_name(name)
    _check_channels(name, in_channels)
    settings = _SETTINGS.get(name, {})
    make = partial(models.get_model, name, weights=None, num_classes=num_classes, **settings)
    return build_classifier(name, make, in_channels=in_channels, seed=seed)


def resnet10(num_classes: int, *, in_channels: int, seed: int) -> Classifier:
    """One basic block a stage: the small network of the ImageNet-LT literature, D = 512.

    Raises:
        ConfigError: images not of colour.
    """
    _check_channels("resnet10", in_channels)
    make = partial(ResNet, BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
    return build_classifier("resnet10", make, in_channels=in_channels, seed=seed)


def torchvision_weights(name: str) -> tuple[dict[str, Tensor], str]:
    """Weights of a network that was trained on ImageNet, and their name.

    They are downloaded by torchvision into `$TORCH_HOME` unless they are there.

    Raises:
        ConfigError: an unknown network.
        PipelineError: the download failed; it names the file that is missing, and its folder.
    """
    weights = _weights(name)
    file = Path(hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        # Its download says on stdout that it begins.
        with contextlib.redirect_stdout(sys.stderr):
            state = weights.get_state_dict(
                progress=False, check_hash=True, map_location="cpu", weights_only=True
            )
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        reason = "pickled objects" if isinstance(error, pickle.UnpicklingError) else error
        raise PipelineError(
            f"{file}: the weights {weights} expected, got: {reason}; download {weights.url} "
            "elsewhere and put it there under that name"
        ) from error
    if name.startswith("densenet"):
        state = {_OLD_DENSENET_NAME.sub(r"\1\2", key): value for key, value in state.items()}
    return state, str(weights)


def torchvision_input(name: str) -> NetworkInput:
    """The images that `torchvision_weights` are for; nothing is downloaded.

    Raises:
        ConfigError: an unknown network.
    """
    weights = _weights(name)
    preset = weights.transforms()
    normalisation = Normalisation(tuple(preset.mean), tuple(preset.std))
    if name in _SETTINGS:  # torchvision makes it of ImageNet's inside the network
        normalisation = NORMALISATIONS["half"]
    return NetworkInput(
        framing=Framing(
            size=preset.crop_size[0],
            resized=preset.resize_size[0],
            interpolation=preset.interpolation.value,
        ),
        normalisation=normalisation,
        is_usual=normalisation == NORMALISATIONS["imagenet"],
        num_classes=len(weights.meta["categories"]),
    )


def timm_network(name: str, num_classes: int, *, in_channels: int, seed: int) -> Classifier:
    """A network of timm with fresh weights.

    Args:
        name: one of `timm.list_models()`, with or without a tag of its weights.
        num_classes: K.
        in_channels: of the images; timm changes the first layer to fit.
        seed: of the initial weights.

    Raises:
        ConfigError: timm is not installed, it has no such network, or the network has no last
            linear layer.
    """
    timm = _timm_with(name)
    make = partial(timm.create_model, name, num_classes=num_classes, in_chans=in_channels)
    return build_classifier(
        f"timm:{name}",
        make,
        in_channels=in_channels,
        seed=seed,
        image_size=timm.get_pretrained_cfg(name).input_size[-1],
    )


def timm_weights(name: str, *, in_channels: int) -> tuple[dict[str, Tensor], str]:
    """Weights that timm publishes for a network, and their name; the head they have, if any.

    timm downloads them into the Hugging Face cache, or torch's, unless they are there.

    Raises:
        ConfigError: timm is not installed, it has no such network, no weights of it, or weights for
            images that are not square.
        PipelineError: the download failed; it names the file that is missing, and its folder.
    """
    timm = _timm_with(name)
    known = timm.get_pretrained_cfg(name)
    if not known.has_weights:
        raise ConfigError(
            f"timm:{name}: a network with published weights expected, got one without; see "
            "timm.list_pretrained(), or give weights of your own as --checkpoint"
        )
    _, height, width = known.input_size
    if height != width or known.crop_mode not in ("center", "squash"):
        raise ConfigError(
            f"timm:{name}: square images without a border expected, got {height} x {width} pixels "
            f"and crop_mode {known.crop_mode}; choose another backbone"
        )
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells each of ten tries to reach the hub
    try:
        with contextlib.redirect_stdout(sys.stderr):
            network = timm.create_model(name, pretrained=True, in_chans=in_channels)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise PipelineError(_missing(known, first_line(error))) from error
    finally:
        logger.setLevel(level)
    return network.state_dict(), f"timm/{known.architecture}.{known.tag}"


def _missing(known: Any, reason: str) -> str:
    """The error of weights that timm has not got: where it looks, and where they are published."""
    if known.hf_hub_id:
        cache = import_module("huggingface_hub").constants.HF_HUB_CACHE
        name = known.hf_hub_filename or "model.safetensors"
        folder = f"models--{known.hf_hub_id.replace('/', '--')}"
        return (
            f"{Path(cache) / folder}: {name} of the weights {known.hf_hub_id} expected, got: "
            f"{reason}; copy that folder from a machine that has it, or download "
            f"https://huggingface.co/{known.hf_hub_id}/resolve/main/{name} elsewhere and give it "
            "as --checkpoint"
        )
    file = Path(hub.get_dir()) / "checkpoints" / Path(known.url).name
    return (
        f"{file}: the weights {known.architecture}.{known.tag} expected, got: {reason}; download "
        f"{known.url} elsewhere and put it there under that name, or give it as --checkpoint"
    )


def timm_input(name: str) -> NetworkInput:
    """The images that timm trains and evaluates a network on unless it is told otherwise.

    Raises:
        ConfigError: timm is not installed, or it has no such network.
    """
    known = _timm_with(name).get_pretrained_cfg(name)
    return NetworkInput(
        framing=Framing(
            size=known.input_size[-1],
            resized=math.floor(known.input_size[-1] / known.crop_pct),
            interpolation=known.interpolation,
            squashed=known.crop_mode == "squash",
        ),
        normalisation=Normalisation(tuple(known.mean), tuple(known.std)),
        num_classes=known.num_classes,
    )


def _timm_with(name: str) -> ModuleType:
    try:
        timm = import_module("timm")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"timm:{name}: the package timm expected, got none installed; "
            "pip install 'marr-pipeline[timm]'"
        ) from error
    known: list[str] = timm.list_models()
    inner, _, tag = name.partition(".")
    _refuse_unknown(inner, known, what="a network of timm", otherwise="see timm.list_models()")
    if tag:
        tags: list[str] = timm.list_pretrained(f"{inner}.*")
        what = f"weights of timm's {inner}"
        _refuse_unknown(name, tags, what=what, otherwise=f"known: {', '.join(tags) or 'none'}")
    return timm


def _weights(name: str) -> WeightsEnum:
    _check_name(name)
    known = models.get_model_weights(name)
    preferred = [known[key] for key in _PREFERRED_WEIGHTS if key in known.__members__]
    return (preferred or [known.DEFAULT])[0]


def _check_name(name: str) -> None:
    known, what = classifier_names(), "a classifier of torchvision"
    _refuse_unknown(name, known, what=what, otherwise="see its list of classifiers")


def _refuse_unknown(name: str, known: Sequence[str], *, what: str, otherwise: str) -> None:
    """Raise a ConfigError with the closest names unless `name` is known."""
    if name not in known:
        close = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else otherwise
        raise ConfigError(f"backbone: {what} expected, got {name}; {hint}")


def _check_channels(name: str, in_channels: int) -> None:
    if in_channels != 3:
        raise ConfigError(
            f"{name}: images of 3 channels expected, got {in_channels}; choose one of the "
            "CIFAR networks"
        )
