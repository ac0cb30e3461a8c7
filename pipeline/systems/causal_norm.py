"""Causal Norm, Tang et al. (2020): a normalised head, trained against a moving mean feature that is
taken out again at test time (the total direct effect, TDE).

Training has the logits (s / H) sum_h <z_h / |z_h|, W_jh / (|W_jh| + offset)>. At test time every
normalised chunk of a feature loses alpha times its part along the mean feature's chunk, which is
linear: the head's rows lose it instead.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.networks.heads import (
    NormalisedHead,
    draw_linear,
    method_generator,
    unit_length,
)
from marr_pipeline.errors import ConfigError
from marr_pipeline.losses.options import Scale, Share, Size, Weight
from marr_pipeline.systems.system import System


class CausalHead(NormalisedHead):
    """A normalised head that knows the mean feature of training.

    Args:
        num_features: D.
        num_classes: K.
        scale: s.
        parts: H, which divides D.
        offset: of a row's length.
        alpha: how much of the mean feature's direction test logits lose.
        momentum: mu of mean <- mu mean + the batch's mean.
    """

    mean: Tensor
    """(D,) the moving sum of training's mean features, of several processes the first one's; only
    its direction counts.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        scale: float,
        parts: int,
        offset: float,
        alpha: float,
        momentum: float,
    ) -> None:
        super().__init__(num_features, num_classes, scale=scale, parts=parts, offset=offset)
        self.alpha = alpha
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(num_features))

    def normalised(self, features: Tensor) -> Tensor:
        """(N, D) to (N, D), every chunk of unit length; training moves the mean on."""
        if self.training:
            with torch.no_grad():
                self.mean.mul_(self.momentum).add_(features.detach().float().mean(0))
        return super().normalised(features)

    def rows(self) -> Tensor:
        """(K, D) what multiplies the normalised features; in eval mode without the mean's part."""
        rows = super().rows()
        if self.training:
            return rows
        mean = unit_length(self.mean.reshape(self.parts, -1))
        chunks = self._chunks(rows)
        along = (chunks * mean).sum(2, keepdim=True)
        return (chunks - self.alpha * along * mean).flatten(1)


@dataclass(frozen=True, kw_only=True)
class CausalNorm(System):
    """Cross-entropy on a `CausalHead`; rows start uniform in ±1 / sqrt(D).

    Options:
        alpha: 1 for CIFAR-10, 1.5 for CIFAR-100, 3 for ImageNet-LT, Places-LT and iNaturalist;
            the authors' rule of thumb is an alpha times the mean cosine of about 1. It decides
            nothing in training.
        scale: s.
        parts: H.
        offset: of a row's length.
        momentum: of the mean feature. 0.9 for CIFAR, and by the released formula at any learning
            rate of 0.02 or more.
    """

    name: ClassVar[str] = "causal-norm"
    alpha: Weight = 1.5
    scale: Scale = 16.0
    parts: Size = 2
    offset: Weight = 1 / 32
    momentum: Share = 0.9

    def network(self, plain: Backbone, *, image_shape: tuple[int, int, int], seed: int) -> Backbone:
        """The plain network with another head."""
        num_classes, num_features = plain.head.weight.shape
        if num_features % self.parts:
            raise ConfigError(
                f"--method-option parts: a divisor of the network's {num_features} features "
                f"expected, got {self.parts}; choose another"
            )
        head = CausalHead(
            num_features,
            num_classes,
            scale=self.scale,
            parts=self.parts,
            offset=self.offset,
            alpha=self.alpha,
            momentum=self.momentum,
        )
        draw_linear(head, method_generator(seed))
        plain.head = head
        return plain
