"""What phase one asks of a network: features, and one linear layer that makes logits of them.

N images of C channels and H x W pixels, K classes, D features.
"""

from typing import Protocol

from torch import Tensor, nn


class Backbone(nn.Module):
    """A network with `logits = features @ head.weight.T + head.bias`, up to rounding.

    Attributes:
        head: the linear layer, weight (K, D) and bias (K,); always its last one, under this name.
        head_aliases: what the layer is called in the networks' own checkpoints, beside `head`.
    """

    head: nn.Linear
    head_aliases: tuple[str, ...] = ()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and features (N, D) of normalised images (N, C, H, W)."""
        raise NotImplementedError


class BackboneBuilder(Protocol):
    """Makes a network whose initial weights are a function of the arguments alone."""

    def __call__(self, num_classes: int, *, in_channels: int, seed: int) -> Backbone:
        """A network for images of `in_channels` channels.

        Raises:
            ConfigError: the network does not take so many channels.
        """
        ...
