"""Heads that compare directions: features and rows of unit length, and a scale.

N features z of D numbers, K rows W. With H parts, features and rows are cut into H chunks of D / H
numbers, each normalised by itself; H = 1 is the cosine head. What such a head makes of its
normalised features is linear, so its effective rows serve a cache as those of any other head:

    logits = normalised(z) @ rows.T + bias.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

METHOD_STREAM = 5
"""Last word of the seed; see `DROPOUT_STREAM`."""


class NormalisedHead(nn.Linear):
    """logits_j = (s / H) sum_h <z_h / |z_h|, W_jh / (|W_jh| + offset)>.

    It has the bias of any `nn.Linear`, whose place a checkpoint names; it stays zero.

    Args:
        num_features: D.
        num_classes: K.
        scale: s.
        parts: H, which divides D.
        offset: added to the length of a row's chunk, Tang et al. (2020); 0 for plain cosines.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        scale: float,
        parts: int = 1,
        offset: float = 0.0,
    ) -> None:
        super().__init__(num_features, num_classes)
        self.scale = scale
        self.parts = parts
        self.offset = offset
        nn.init.zeros_(self.bias)
        self.bias.requires_grad_(False)

    def normalised(self, features: Tensor) -> Tensor:
        """(N, D) to (N, D), every chunk of unit length; zeros stay zeros."""
        return unit_length(self._chunks(features)).flatten(1)

    def rows(self) -> Tensor:
        """(K, D) what multiplies the normalised features, scale included."""
        chunks = self._chunks(self.weight)
        lengths: Tensor = torch.linalg.vector_norm(chunks, dim=2, keepdim=True) + self.offset
        return (chunks / lengths.clamp(min=1e-12)).flatten(1) * (self.scale / self.parts)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, K) of normalised features (N, D)."""
        return linear(features, self.rows(), self.bias)

    def _chunks(self, values: Tensor) -> Tensor:
        return values.reshape(len(values), self.parts, -1)


def unit_length(vectors: Tensor) -> Tensor:
    """(..., D) each divided by its length; at least float32, as 1e-12 is 0 in float16."""
    precision = torch.promote_types(vectors.dtype, torch.float32)
    unit: Tensor = normalize(vectors.to(precision), dim=-1)
    return unit


def method_generator(seed: int) -> torch.Generator:
    """For what a method draws of its network, independent of what else is drawn from the seed."""
    (word,) = np.random.SeedSequence([seed, METHOD_STREAM]).generate_state(1)
    return torch.Generator().manual_seed(int(word))


def draw_linear(layer: nn.Linear, generator: torch.Generator) -> None:
    """Draw a layer's weight and bias uniformly from ±1 / sqrt(D), its inputs, as torch does by
    default; a bias that is not trained stays as it is.
    """
    bound = 1 / math.sqrt(layer.in_features)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None and layer.bias.requires_grad:
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
