"""Heads that compare directions: features and rows of unit length, and a scale.

N features z of D numbers, K rows W. With H parts, features and rows are cut into H chunks of D / H
numbers, each normalised by itself; H = 1 is the cosine head. What such a head makes of its
normalised features is linear, so its effective rows serve a cache as those of any other head:

    logits = normalised(z) @ rows.T + bias.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class NormalisedHead(nn.Linear):
    """logits_j = (s / H) sum_h <z_h / |z_h|, W_jh / (|W_jh| + offset)> + b_j.

    Args:
        num_features: D.
        num_classes: K.
        scale: s.
        parts: H, which divides D.
        offset: added to the length of a row's chunk, Tang et al. (2020); 0 for plain cosines.
        has_bias: train b, from zero; it stays zero otherwise.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        scale: float,
        parts: int = 1,
        offset: float = 0.0,
        has_bias: bool = False,
    ) -> None:
        super().__init__(num_features, num_classes)
        self.scale = scale
        self.parts = parts
        self.offset = offset
        nn.init.zeros_(self.bias)
        self.bias.requires_grad_(has_bias)

    def normalised(self, features: Tensor) -> Tensor:
        """(N, D) to (N, D), every chunk of unit length."""
        unit: Tensor = normalize(self._chunks(features), dim=2).flatten(1)
        return unit

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


def draw_linear(layer: nn.Linear, *, seed: int) -> None:
    """Draw a layer's weight and bias uniformly from ±1 / sqrt(D), its inputs, as torch does by
    default; a bias that is not trained stays as it is, and so does every other generator.
    """
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(layer.in_features)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None and layer.bias.requires_grad:
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
