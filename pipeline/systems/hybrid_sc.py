"""Hybrid-SC, Wang et al. (2021): contrast shapes the features first, cross-entropy the head later.

A step sees two views of B images as they come, for contrast, and B images with every class as
often, for the head. The loss is a L_contrast + (1 - a) CE with a = 1 - progress^2. Contrast is
within a process's micro-batch. There is no released code; what the paper leaves open is said below.
At test time the head is all that is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.networks.heads import draw_linear, method_generator, unit_length
from marr_pipeline.backbone.training.method import Forward
from marr_pipeline.losses.options import Scale, Size
from marr_pipeline.systems.system import System


class ContrastiveNetwork(Backbone):
    """A network with a projection beside its head.

    Args:
        plain: the network that it is made of; the projection has one hidden layer of D numbers.
        width: of the projection.
        has_prototypes: whether there is one learned direction a class.
        seed: of projection and prototypes.
    """

    def __init__(self, plain: Backbone, *, width: int, has_prototypes: bool, seed: int) -> None:
        super().__init__()
        num_classes, num_features = plain.head.weight.shape
        self.head = plain.head
        self.body = plain
        del plain.head
        layers = [nn.Linear(num_features, num_features), nn.Linear(num_features, width)]
        self.projection = nn.Sequential(layers[0], nn.ReLU(), layers[1])
        self.prototypes = nn.Linear(width, num_classes, bias=False) if has_prototypes else None
        drawn = layers if self.prototypes is None else [*layers, self.prototypes]
        generator = method_generator(seed)
        for layer in drawn:
            draw_linear(layer, generator)

    def features(self, images: Tensor) -> Tensor:
        """(N, D) of images (N, C, H, W)."""
        return self.body.features(images)

    def forward(self, images: Tensor, *, contrast: bool = False) -> tuple[Tensor, ...]:
        """Logits (N, K) and features (N, D) of normalised images (N, C, H, W).

        With `contrast` 3 N images come in, two views of N and N others: logits (N, K) of the
        last, projections (2 N, width) of unit length of the first, and where there are prototypes
        the cosines (2 N, K) of each projection with each of them.
        """
        if not contrast:
            return super().forward(images)
        first, second, others = images.chunk(3)
        logits = self.head(self.features(others))
        projected = unit_length(self.projection(self.features(torch.cat([first, second]))))
        if self.prototypes is None:
            return logits, projected
        return logits, projected, projected @ unit_length(self.prototypes.weight).T


@dataclass(frozen=True, kw_only=True)
class HybridSC(System):
    """Both variants of the paper.

    Options:
        variant: `sc` contrasts the images of a batch, `psc` an image with learned prototypes.
        temperature: tau of the contrast. 0.1; the paper has 1 for `psc` on CIFAR-10.
        width: of the projection, which is not stated.
    """

    name: ClassVar[str] = "hybrid-sc"
    variant: Literal["sc", "psc"] = "sc"
    temperature: Scale = 0.1
    width: Size = 128

    streams: ClassVar[Sequence[str]] = ("instance", "same", "balanced")
    """Images as they come, these once more in another view, and every class as often."""

    def network(self, plain: Backbone, *, image_shape: tuple[int, int, int], seed: int) -> Backbone:
        """See `ContrastiveNetwork`."""
        has_prototypes = self.variant == "psc"
        return ContrastiveNetwork(plain, width=self.width, has_prototypes=has_prototypes, seed=seed)

    def outputs(self, forward: Forward, images: Tensor, *, progress: float) -> tuple[Tensor, ...]:
        """Logits of the last third, and what the first two are contrasted by."""
        return forward(images, contrast=True)

    def answers(self, labels: Tensor) -> Tensor:
        """Those of the last third."""
        return labels.chunk(3)[2]

    def loss(
        self, outputs: tuple[Tensor, ...], labels: Tensor, *, class_counts: Tensor, progress: float
    ) -> Tensor:
        """The module docstring's; the contrast is a mean over its 2 B anchors."""
        share = 1 - progress**2
        first, second, others = labels.chunk(3)
        anchors = torch.cat([first, second])
        if self.variant == "sc":
            contrast = contrast_of_views(outputs[1], anchors, temperature=self.temperature)
        else:
            contrast = contrast_of_prototypes(outputs[2], anchors, temperature=self.temperature)
        return share * contrast + (1 - share) * cross_entropy(outputs[0], others)


def contrast_of_views(projections: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Supervised contrastive loss, Khosla et al. (2020), a mean over the anchors.

    Of anchor i it is the mean, over the others with its label, of
    -log(exp(<r_i, r_j> / tau) / sum_(k != i) exp(<r_i, r_k> / tau)).

    Args:
        projections: (M, width) of unit length.
        labels: (M,), each at least twice.
        temperature: tau.
    """
    is_self = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similarities = (projections @ projections.T / temperature).masked_fill(is_self, -torch.inf)
    log_shares = similarities.log_softmax(1)
    is_positive = (labels[:, None] == labels) & ~is_self
    return -(log_shares.masked_fill(~is_positive, 0).sum(1) / is_positive.sum(1)).mean()


def contrast_of_prototypes(cosines: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """The prototypical loss, a mean over the anchors: the denominator has the other classes alone,
    so it may be negative.

    Args:
        cosines: (M, K) of each projection with each prototype.
        labels: (M,).
        temperature: tau.
    """
    scaled = cosines / temperature
    is_own = one_hot(labels, cosines.shape[1]).bool()
    others = scaled.masked_fill(is_own, -torch.inf).logsumexp(1)
    return (others - scaled.gather(1, labels[:, None])[:, 0]).mean()
