"""BBN, Zhou et al. (2020): two last blocks, one for images as they come and one for rare classes.

A step sees B images x_c as they come and B images x_r from the reverse sampler. The trunk is shared
and runs over each by itself, so each has batch statistics of its own; the head is one linear layer
on both branches' features. Its input in training is 2 [a f_c(x_c), (1 - a) f_r(x_r)] and its loss
a CE(., y_c) + (1 - a) CE(., y_r), with a = 1 - progress^2, by the step where the released code goes
by the epoch. At test time one image goes through both branches, and a is 1/2.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.networks.heads import draw_linear, method_generator
from marr_pipeline.backbone.training.method import Forward
from marr_pipeline.systems.system import System, take_apart


class TwoBranches(Backbone):
    """A residual network whose last block is there twice.

    Args:
        plain: the network that it is made of; its last block becomes the common branch, and a copy
            of it as it is the other.
        seed: of the head.
    """

    def __init__(self, plain: Backbone, *, seed: int) -> None:
        super().__init__()
        stages = take_apart(plain, method="bbn")
        blocks = list(stages[-1].children())
        self.trunk = nn.Sequential(*stages[:-1], *blocks[:-1])
        self.common = blocks[-1]
        self.rare = copy.deepcopy(self.common)
        num_classes, num_features = plain.head.weight.shape
        self.head = nn.Linear(2 * num_features, num_classes)
        draw_linear(self.head, method_generator(seed))

    def features(self, images: Tensor) -> Tensor:
        """(N, 2 D) of images (N, C, H, W)."""
        maps = self.trunk(images)
        return torch.cat([_pooled(self.common(maps)), _pooled(self.rare(maps))], dim=1)

    def forward(self, images: Tensor, share: float | None = None) -> tuple[Tensor, ...]:
        """Logits (N, K) and features (N, 2 D).

        Args:
            images: (N, C, H, W) normalised; with a share 2 N, x_c before x_r.
            share: a, in training.
        """
        if share is None:
            return super().forward(images)
        common, rare = images.chunk(2)
        parts = [
            2 * share * _pooled(self.common(self.trunk(common))),
            2 * (1 - share) * _pooled(self.rare(self.trunk(rare))),
        ]
        features = torch.cat(parts, dim=1)
        return self.head(features), features


def _pooled(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3))


@dataclass(frozen=True, kw_only=True)
class BBN(System):
    """The cumulative learning of the two branches."""

    name: ClassVar[str] = "bbn"
    streams: ClassVar[Sequence[str]] = ("instance", "reverse")
    """Images as they come, then rare classes more often."""

    def network(self, plain: Backbone, *, image_shape: tuple[int, int, int], seed: int) -> Backbone:
        """See `TwoBranches`."""
        return TwoBranches(plain, seed=seed)

    def outputs(self, forward: Forward, images: Tensor, *, progress: float) -> tuple[Tensor, ...]:
        """Logits of the mixture of the two halves."""
        return forward(images, _share(progress))

    def answers(self, labels: Tensor) -> Tensor:
        """Those of the images as they come."""
        return labels.chunk(2)[0]

    def loss(
        self, outputs: tuple[Tensor, ...], labels: Tensor, *, class_counts: Tensor, progress: float
    ) -> Tensor:
        """The module docstring's."""
        common, rare = labels.chunk(2)
        share = _share(progress)
        logits = outputs[0]
        return share * cross_entropy(logits, common) + (1 - share) * cross_entropy(logits, rare)


def _share(progress: float) -> float:
    return 1 - progress**2
