"""Weights that others trained: a checkpoint's, whatever it is packed in, and torchvision's."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from marr_pipeline.backbone import BACKBONES, build_backbone
from marr_pipeline.backbone.checkpoints.matching import MatchedTensors, match_tensors
from marr_pipeline.backbone.networks.libraries import classifier_names, torchvision_weights
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.tensor_file import read_tensor_file

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "state_dict_best")
"""Keys under which programs keep a state dict, first choice first: the last iterate before the
one that scored best, since the split it scored best on is often test."""

PARTS = ("feat_model", "classifier", "backbone", "encoder", "head", "fc", "linear")
"""Keys of state dicts that are one network together, as feature extractor and classifier."""

NUM_CHANNELS = (3, 1)
"""Of colour images and of grey ones."""


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """What is put into a fresh network before its first step.

    Attributes:
        matched: the tensors; without a head, the network's own fresh one stays.
        record: JSON values that tell these weights from others, for the training's record.
    """

    matched: MatchedTensors
    record: dict[str, object]


def foreign_tensors(content: object, *, where: str) -> dict[str, Tensor]:
    """The state dict in the content of a file; of parts, with their keys as prefixes.

    Args:
        content: as `read_tensor_file` gives it.
        where: how errors name the file.

    Raises:
        DataError: there is no state dict in it, or it has values that are not finite.
    """
    found = _flat(_state_dict(content))
    if not found:
        keys = ", ".join(map(str, content)) if isinstance(content, Mapping) else ""
        raise DataError(
            f"{where}: a state dict, or one under {', '.join(CONTAINERS)}, expected, got "
            f"{f'the keys {keys}' if keys else f'a {type(content).__name__}'}; "
            "save model.state_dict()"
        )
    for name, tensor in found.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise DataError(
                f"{where}: finite weights expected, got others in {name}; "
                "was the network trained to its end?"
            )
    return found


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
            match_tensors(tensors, model, new_head=True, where=where, backbone=name)
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
    path: Path, backbone: str, *, num_classes: int, in_channels: int, new_head: bool
) -> InitialWeights:
    """The weights of a checkpoint, of this program or of another.

    Raises:
        ConfigError: the backbone is unknown or does not take the images.
        DataError: the file cannot be read, or holds the tensors of another network.
    """
    tensors = foreign_tensors(read_tensor_file(path), where=str(path))
    matched = _matched(
        tensors, backbone, num_classes, in_channels, new_head=new_head, where=str(path)
    )
    record: dict[str, object] = {"sha256": tensors_digest(tensors), "new_head": new_head}
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


def _state_dict(content: object) -> object:
    """The innermost container; of a dict of parts and other things, the parts."""
    if not isinstance(content, Mapping):
        return {}
    for key in CONTAINERS:
        if _flat(content.get(key)):
            return _state_dict(content[key])
    parts = {key: content[key] for key in PARTS if isinstance(content.get(key), Mapping)}
    return parts or {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _flat(content: object) -> dict[str, Tensor]:
    """Every tensor of nested dicts, names joined by dots."""
    found: dict[str, Tensor] = {}
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Tensor):
            found[str(name)] = value
        else:
            found |= {f"{name}.{inner}": tensor for inner, tensor in _flat(value).items()}
    return found
