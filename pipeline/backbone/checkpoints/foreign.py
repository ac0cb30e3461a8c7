"""Weights that others trained: a checkpoint's, whatever it is packed in, and published ones.

Where the names of a file are another program's, its tensors may be told by the order they stand in:
the same network written twice registers its layers in the order in which it uses them, as a rule.
"""

import hashlib
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from marr_pipeline.backbone import BACKBONES, build_backbone
from marr_pipeline.backbone.checkpoints.matching import MatchedTensors, find_networks, match_tensors
from marr_pipeline.backbone.networks.classifier import Backbone, Classifier
from marr_pipeline.backbone.networks.libraries import (
    classifier_names,
    timm_weights,
    torchvision_weights,
)
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.state_dict import named_tensors
from marr_pipeline.tensor_file import read_tensor_file

NUM_CHANNELS = (3, 1)
"""Of colour images and of grey ones."""

_OPTIONS = ("args", "hyper_parameters", "config")
_IMAGE_SIZES = ("img_size", "image_size", "input_size", "train_crop_size")
"""Where programs keep what they were called with, and what they call the side of their images."""


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """What is put into a fresh network before its first step.

    Attributes:
        matched: the tensors; without a head, the network's own fresh one stays.
        record: JSON values that tell these weights from others, for the training's record.
    """

    matched: MatchedTensors
    record: dict[str, object]


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, whatever their order in the file."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        sha.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def detect_backbone(tensors: Mapping[str, Tensor], *, where: str) -> str:
    """The name in `BACKBONES` whose network has exactly these tensors, the head's classes aside.

    No two of them agree in all names and shapes, so there is at most one.

    Args:
        tensors: the checkpoint's.
        where: how errors name the file.

    Raises:
        DataError: it is none of them.
    """
    for (name, build), in_channels in product(BACKBONES.items(), NUM_CHANNELS):
        try:
            with torch.device("meta"):
                model = build(1, in_channels=in_channels, seed=0)
            find_networks(tensors, model, where=where, backbone=name)
        except (ConfigError, DataError):
            continue  # not this one: the question, and no fault
        return name
    raise DataError(
        f"{where}: the tensors of one of {', '.join(BACKBONES)} expected where no backbone is "
        "named, got others; give --backbone, and what does not match is listed"
    )


def pretrained_weights(backbone: str, *, num_classes: int, in_channels: int) -> InitialWeights:
    """torchvision's ImageNet weights of a backbone; the head is always a fresh one.

    Raises:
        ConfigError: torchvision has no such network, or no weights of it that fit.
        PipelineError: the weights could not be downloaded.
    """
    name = torchvision_name(backbone)
    tensors, weights = torchvision_weights(name)
    matched = _matched(
        tensors, backbone, num_classes, in_channels, new_head=True, where=f"{name}, {weights}"
    )
    return InitialWeights(matched, {"weights": weights, "sha256": tensors_digest(tensors)})


def published_weights(backbone: str, *, in_channels: int) -> tuple[dict[str, Tensor], str]:
    """The tensors that torchvision or timm publishes for a backbone, and the weights' name.

    Raises:
        ConfigError: it is no network of theirs, or none with weights.
        PipelineError: the weights could not be downloaded.
    """
    library, _, inner = backbone.partition(":")
    if library == "timm":
        return timm_weights(inner, in_channels=in_channels)
    return torchvision_weights(torchvision_name(backbone))


def torchvision_name(backbone: str) -> str:
    """torchvision's own name of a backbone that it publishes weights of.

    Raises:
        ConfigError: it has no such network.
    """
    name = backbone.removeprefix("torchvision:")
    if name not in classifier_names() or (name == backbone and name not in BACKBONES):
        raise ConfigError(
            f"--pretrained: a network of torchvision expected, got {backbone}; give "
            "--no-pretrained, or save weights of it and give them as --checkpoint"
        )
    return name


def weights_of_checkpoint(
    path: Path,
    backbone: str,
    *,
    num_classes: int,
    in_channels: int,
    new_head: bool,
    weights: str | None = None,
) -> InitialWeights:
    """The weights of a checkpoint, of this program or of another.

    Raises:
        ConfigError: the backbone is unknown or does not take the images; there is no such key.
        DataError: the file cannot be read, or holds the tensors of another network.
    """
    tensors = named_tensors(read_tensor_file(path), where=str(path), weights=weights)
    matched = _matched(
        tensors, backbone, num_classes, in_channels, new_head=new_head, where=str(path)
    )
    record: dict[str, object] = {"sha256": tensors_digest(matched.tensors), "new_head": new_head}
    return InitialWeights(matched, record)


def _matched(
    tensors: dict[str, Tensor],
    backbone: str,
    num_classes: int,
    in_channels: int,
    *,
    new_head: bool,
    where: str,
) -> MatchedTensors:
    model = build_backbone(backbone, num_classes, in_channels=in_channels, seed=0)
    return match_tensors(tensors, model, new_head=new_head, where=where, backbone=backbone)


def trained_image_size(content: object) -> int | None:
    """Side in pixels of the images that a checkpoint says it was trained at, if it says it.

    Args:
        content: of a file; timm, torchvision and Lightning keep their options in it.
    """
    options = vars(content) if isinstance(content, Namespace) else content
    if not isinstance(options, Mapping):
        return None
    for key in _IMAGE_SIZES:
        value = options.get(key)
        side = value[-1] if isinstance(value, list | tuple) and value else value
        if isinstance(side, int) and side > 1:
            return side
    inner = (trained_image_size(options.get(key)) for key in _OPTIONS)
    return next((side for side in inner if side is not None), None)


_COUNTER = "num_batches_tracked"


def named_by_order(
    found: Mapping[str, Tensor], model: Backbone, *, where: str, backbone: str
) -> dict[str, Tensor]:
    """The tensors under the network's own names; the last are the head's, of whatever classes.

    Args:
        found: the checkpoint's, in the order of the file.
        model: the network.
        where: how errors name the file.
        backbone: how errors name the network.

    Raises:
        DataError: they are not the network's in this order; the first that differs is named.
    """
    is_cut = isinstance(model, Classifier)
    head = next(iter(model.head_aliases), "head")
    body = {
        name.removeprefix("body.") if is_cut else name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("head.")
    }
    own = {name: tensor for name, tensor in body.items() if not name.endswith(_COUNTER)}
    own |= {f"{head}.weight": model.head.weight, f"{head}.bias": model.head.bias}
    theirs = [(name, tensor) for name, tensor in found.items() if not name.endswith(_COUNTER)]
    if len(theirs) == len(own) - 1:
        del own[f"{head}.bias"]  # a head without one
    if len(theirs) != len(own):
        raise DataError(
            f"{where}: the {len(own)} tensors of a {backbone} expected with --by-order, got "
            f"{len(theirs)}; is it another --backbone?"
        )
    layers: dict[str, str] = {}
    for place, ((name, tensor), (expected, shape)) in enumerate(
        zip(theirs, ((name, tensor.shape) for name, tensor in own.items()), strict=True)
    ):
        layer, _, kind = name.rpartition(".")
        own_layer, _, own_kind = expected.rpartition(".")
        skipped = 1 if own_layer == head else 0  # the number of classes
        is_alike = kind == own_kind and tensor.shape[skipped:] == shape[skipped:]
        if not is_alike or layers.setdefault(own_layer, layer) != layer:
            raise DataError(
                f"{where}: {expected} {tuple(shape)} of a {backbone} expected at place {place} "
                f"with --by-order, got {name} {tuple(tensor.shape)}; is it another --backbone?"
            )
    return dict(zip(own, (tensor for _, tensor in theirs), strict=True))
