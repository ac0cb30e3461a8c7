"""What BBN and OLTR take apart: the maps of a residual network before they are averaged."""

from torch import nn

from marr_pipeline.backbone.networks.classifier import Backbone, Classifier
from marr_pipeline.errors import ConfigError

LAYERS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
"""Of He et al.'s networks, in their order; small ones lack some."""


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
