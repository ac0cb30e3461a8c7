"""Weights that a training starts from in place of drawn ones: a checkpoint's or torchvision's."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from marr_pipeline.backbone import BACKBONES, build_backbone
from marr_pipeline.backbone.checkpoints.foreign import foreign_tensors, tensors_digest
from marr_pipeline.backbone.checkpoints.matching import MatchedTensors, match_tensors
from marr_pipeline.backbone.networks.torchvision_networks import (
    classifier_names,
    torchvision_weights,
)
from marr_pipeline.errors import ConfigError
from marr_pipeline.tensor_file import read_tensor_file


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """What is put into a fresh network before its first step.

    Attributes:
        matched: the tensors; without a head, the network's own fresh one stays.
        record: JSON values that tell these weights from others, for the training's record.
    """

    matched: MatchedTensors
    record: dict[str, object]


def pretrained_weights(backbone: str, *, num_classes: int, in_channels: int) -> InitialWeights:
    """torchvision's ImageNet weights of a backbone; the head is always a fresh one.

    Raises:
        ConfigError: torchvision has no such network, or no weights of it that fit.
        PipelineError: the weights could not be downloaded.
    """
    name = backbone.removeprefix("torchvision:")
    if name not in classifier_names() or (name == backbone and name not in BACKBONES):
        raise ConfigError(
            f"--pretrained: a network of torchvision expected, got {backbone}; give "
            "--no-pretrained, or save weights of it and give them as --checkpoint"
        )
    tensors, weights = torchvision_weights(name)
    matched = _matched(
        tensors, backbone, num_classes, in_channels, new_head=True, where=f"{name}, {weights}"
    )
    return InitialWeights(matched, {"weights": weights, "sha256": tensors_digest(tensors)})


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
