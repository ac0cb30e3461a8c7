"""A linear head in place of the old one, on the same features."""

from dataclasses import dataclass

import torch
from torch import Tensor

from marr_pipeline.rectify.margins import affine_logits
from marr_pipeline.rectify.rectifier import Rectifier, known_features


@dataclass(frozen=True, kw_only=True)
class HeadRectifier(Rectifier):
    """rectified (N, K) = scale * (features @ weight.T + bias) + shift.

    Attributes:
        weight: (K, D) float64.
        bias: (K,) float64.
    """

    weight: Tensor
    bias: Tensor

    @property
    def num_features(self) -> int:
        """D."""
        return self.weight.shape[1]

    def apply(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Rectified logits (..., K) float64 of features (..., D); the old logits are not used."""
        new = known_features(features, self.num_features) @ self.weight.T + self.bias
        return affine_logits(new, self.scale, self.shift)

    def margin_norm(self, weight_norm: Tensor) -> Tensor:
        """(K,) norms of the new head's rows."""
        norm: Tensor = torch.linalg.vector_norm(self.weight, dim=1)
        return norm
