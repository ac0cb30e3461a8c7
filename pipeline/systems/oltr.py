"""OLTR, Liu et al. (2019), for closed sets: attention on the last map, and a memory of the classes.

It starts from a network trained by plain cross-entropy (stage 1). Of the last map x (N, C, H, W),
stage 2 makes x + a mask(x), `mask` an embedded-Gaussian non-local block and `a` a softmax over
the H W cells of a linear layer of the whole map; averaged over the cells and taken through a linear
layer with ReLU this is v. With a memory M of one centroid a class,

    v_meta = 10 / min_j |v - M_j| (v + tanh(selector(v)) softmax(hallucinator(v)) M),

the features are v_meta / (1 + |v_meta|), and the head is 16 times their product with rows of unit
length. M is detached in all of this. It learns by two terms beside the cross-entropy: attraction
between an image and its own centroid, and repulsion from the others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, relu

from marr_pipeline.backbone.extract import plan_blocks, view_blocks
from marr_pipeline.backbone.networks.classifier import Backbone, forward_of_shapes
from marr_pipeline.backbone.networks.heads import NormalisedHead, draw_linear, method_generator
from marr_pipeline.backbone.training.method import Forward
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.data.normalise import normalise
from marr_pipeline.systems.system import System, take_apart

SCALE = 16.0
REACH = 10.0
MARGIN = 10.0
"""Of the repulsion."""
AUXILIARY = 0.01
"""Weight of attraction, and of repulsion within it."""


class ModulatedAttention(nn.Module):
    """x + a mask(x) of maps x (N, D, H, W).

    Args:
        width: D.
        cells: H W.
        starts_as_identity: whether the mask is 0 at first. The released block means it to be, and
            its network's initialisation then overwrites that with N(0, 2 / D).
        generator: of the weights.
    """

    def __init__(
        self, width: int, cells: int, *, starts_as_identity: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        inner = width // 2
        self.query = nn.Conv2d(width, inner, 1)
        self.key = nn.Conv2d(width, inner, 1)
        self.value = nn.Conv2d(width, inner, 1)
        self.back = nn.Conv2d(inner, width, 1, bias=False)
        self.spatial = nn.Linear(cells * width, cells)
        for layer in (self.query, self.key, self.value, self.back):
            deviation = (2 / layer.out_channels) ** 0.5
            nn.init.normal_(layer.weight, std=deviation, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if starts_as_identity:
            nn.init.zeros_(self.back.weight)
        draw_linear(self.spatial, generator)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, D, H, W) to the same."""
        query, key, value = (layer(maps).flatten(2) for layer in (self.query, self.key, self.value))
        attended = value @ (query.transpose(1, 2) @ key).softmax(2).transpose(1, 2)
        height, width = maps.shape[2:]
        mask = self.back(attended.unflatten(2, (height, width)))
        cells = self.spatial(maps.flatten(1)).softmax(1).reshape(-1, 1, height, width)
        attended_maps: Tensor = maps + cells * mask
        return attended_maps


class OpenLongTailNetwork(Backbone):
    """The module docstring's stage 2.

    Args:
        plain: the network of stage 1; its head becomes the hallucinator.
        image_shape: (C, H, W) of the images, which decides the cells of the last map.
        starts_as_identity: of the attention.
        seed: of what is new.
    """

    def __init__(
        self,
        plain: Backbone,
        *,
        image_shape: tuple[int, int, int],
        starts_as_identity: bool,
        seed: int,
    ) -> None:
        super().__init__()
        num_classes, width = plain.head.weight.shape
        self.stages = take_apart(plain, method="oltr")
        generator = method_generator(seed)
        maps = forward_of_shapes(self.stages, image_shape)
        assert isinstance(maps, Tensor)
        cells = maps.shape[2] * maps.shape[3]
        self.attention = ModulatedAttention(
            width, cells, starts_as_identity=starts_as_identity, generator=generator
        )
        self.direct = nn.Linear(width, width)
        self.hallucinator = plain.head
        self.selector = nn.Linear(width, width)
        self.memory = nn.Parameter(torch.zeros(num_classes, width))
        self.head = NormalisedHead(width, num_classes, scale=SCALE)
        for layer in (self.direct, self.selector, self.head):
            draw_linear(layer, generator)

    def direct_features(self, images: Tensor) -> Tensor:
        """(N, D) v of normalised images (N, C, H, W)."""
        maps = self.attention(self.stages(images))
        directed: Tensor = self.direct(maps.mean(dim=(2, 3)))
        return relu(directed)

    def forward(self, images: Tensor, *, parts: bool = False) -> tuple[Tensor, ...]:
        """Logits (N, K) and features (N, D); with `parts` also v (N, D) and the memory (K, D)."""
        direct = self.direct_features(images)
        memory = self.memory.detach()
        remembered = self.hallucinator(direct).softmax(1) @ memory
        enriched = direct + torch.tanh(self.selector(direct)) * remembered
        reach = REACH / torch.cdist(direct, memory).amin(1, keepdim=True).clamp(min=1e-6)
        enriched = reach * enriched
        features = enriched / (1 + enriched.norm(dim=1, keepdim=True))
        logits = self.head(features)
        return (logits, features, direct, self.memory) if parts else (logits, features)


@dataclass(frozen=True, kw_only=True)
class OLTR(System):
    """Stage 2, on class-balanced batches, the network's old parts at a tenth of the rate.

    Options:
        starts_as_identity: see `ModulatedAttention`.
        scales_memory_gradient: give the gradient of the centroids' attraction the weight 0.01,
            which the released code's own backward pass drops.
    """

    name: ClassVar[str] = "oltr"
    streams: ClassVar[Sequence[str]] = ("balanced",)
    has_first_stage: ClassVar[bool] = True

    starts_as_identity: bool = False
    scales_memory_gradient: bool = False

    def network(self, plain: Backbone, *, image_shape: tuple[int, int, int], seed: int) -> Backbone:
        """See `OpenLongTailNetwork`."""
        return OpenLongTailNetwork(
            plain,
            image_shape=image_shape,
            starts_as_identity=self.starts_as_identity,
            seed=seed,
        )

    def prepare(self, model: Backbone, dataset: LongTailedDataset, *, device: torch.device) -> None:
        """Begin the memory at the classes' mean v over the clean training images."""
        assert isinstance(model, OpenLongTailNetwork)
        labels = dataset.train.labels.to(device)
        sums = torch.zeros_like(model.memory)
        blocks = plan_blocks(len(labels), num_views=1)
        model.eval()
        with torch.inference_mode():
            for block, images in view_blocks(
                dataset.train,
                blocks,
                views=("clean",),
                augmentation="none",
                seed=0,
                device=device,
            ):
                direct = model.direct_features(normalise(images, dataset.normalisation))
                own = one_hot(labels[block.start : block.stop], len(sums)).to(direct.dtype)
                sums += own.T @ direct  # in an order of its own, unlike index_add_ on a GPU
        with torch.no_grad():
            model.memory.copy_(sums / torch.bincount(labels)[:, None])
        model.train()

    def rate_factors(self, model: Backbone) -> Iterable[tuple[list[nn.Parameter], float]]:
        """What follows v at the recipe's rate, all else at a tenth of it, as for ImageNet-LT."""
        assert isinstance(model, OpenLongTailNetwork)
        layers = (model.hallucinator, model.selector, model.head)
        head = [parameter for layer in layers for parameter in layer.parameters()]
        own = {id(parameter) for parameter in head}
        others = [each for each in model.parameters() if id(each) not in own]
        return [(head, 1.0), (others, 0.1)]

    def outputs(self, forward: Forward, images: Tensor, *, progress: float) -> tuple[Tensor, ...]:
        """With what the memory learns from."""
        return forward(images, parts=True)

    def loss(
        self, outputs: tuple[Tensor, ...], labels: Tensor, *, class_counts: Tensor, progress: float
    ) -> Tensor:
        """CE + 0.01 (attraction + 0.01 repulsion), with the released code's gradients."""
        logits, _, direct, memory = outputs
        memory_weight = AUXILIARY if self.scales_memory_gradient else 1.0
        return cross_entropy(logits, labels) + memory_loss(
            direct, memory, labels, memory_weight=memory_weight
        )


def memory_loss(direct: Tensor, memory: Tensor, labels: Tensor, *, memory_weight: float) -> Tensor:
    """0.01 (attraction + 0.01 repulsion).

    Attraction is sum_i |v_i - M_y|^2 / (2 B). Its gradient in a centroid is replaced by
    sum_(y_i = j) (M_j - v_i) / ((1 + count_j) B). Repulsion is 10 less the mean squared distance
    of images to the centroids of other classes, at least 0 and at most 1e6.

    Args:
        direct: (B, D) v.
        memory: (K, D) M.
        labels: (B,).
        memory_weight: of the centroids' part of attraction, which 0.01 does not multiply.
    """
    batch, num_classes = len(labels), len(memory)
    own = memory[labels]
    is_own = one_hot(labels, num_classes).bool()
    counts = is_own.sum(0)[labels]
    attraction = ((direct - own.detach()) ** 2).sum() / (2 * batch)
    pull = (((own - direct.detach()) ** 2).sum(1) / (1 + counts)).sum() / (2 * batch)
    # |v|^2 + |M|^2 - 2 <v, M>: no (B, K, D) numbers are kept.
    squares = direct.square().sum(1, keepdim=True) + memory.square().sum(1)
    distances = squares - 2 * direct @ memory.T
    others = distances.masked_fill(is_own, 0)
    repulsion = (MARGIN - others.sum() / (batch * num_classes)).clamp(0, 1e6)
    # The second term is 0; it gives the centroids their gradient.
    return AUXILIARY * (attraction + AUXILIARY * repulsion) + memory_weight * (pull - pull.detach())
