"""What the training methods that are whole systems share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from marr_pipeline.backbone.networks.classifier import Backbone, Classifier
from marr_pipeline.backbone.training.method import TrainingMethod
from marr_pipeline.errors import ConfigError
from marr_pipeline.losses.options import Value

LAYERS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
"""Of He et al.'s networks, in their order; small ones lack some."""


@dataclass(frozen=True, kw_only=True)
class System(TrainingMethod):
    """Its fields are its options; by default it has plain batches and plain cross-entropy."""

    streams: ClassVar[Sequence[str]] = ("instance",)

    @property
    def options(self) -> Mapping[str, Value]:
        """The fields."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def loss(
        self, outputs: tuple[Tensor, ...], labels: Tensor, *, class_counts: Tensor, progress: float
    ) -> Tensor:
        """Mean cross-entropy."""
        return cross_entropy(outputs[0], labels)


def take_apart(plain: Backbone, *, method: str) -> nn.Sequential:
    """The layers of a residual network up to its last map (N, D, H, W).

    The last of them is its last stage, a sequence of blocks.

    Raises:
        ConfigError: the network is not residual.
    """
    network = plain.body if isinstance(plain, Classifier) else plain
    found = dict(network.named_children())
    if "conv1" not in found or "layer3" not in found:
        raise ConfigError(
            f"--method {method}: a residual network expected, resnet32 or resnet50 or their kin, "
            f"got {type(network).__name__}; choose another --backbone"
        )
    found.setdefault("relu", found.get("act1", nn.ReLU()))  # timm's name
    return nn.Sequential(*(found[name] for name in LAYERS if name in found))
