"""Old and new logits mixed by how far each sample's features ask for it (DisAlign)."""

from dataclasses import dataclass

from torch import Tensor

from marr_pipeline.rectify.margins import affine_logits, mixed_logits
from marr_pipeline.rectify.rectifier import Rectifier, known_features


@dataclass(frozen=True, kw_only=True)
class ConfidenceRectifier(Rectifier):
    """A mixture of new and old logits, by one confidence c a sample (DisAlign).

    rectified = logits + c * (scale * logits + shift - logits), with
    c = sigmoid(features . confidence_weight + confidence_bias).

    It cannot be folded into a linear head: c depends on the features, so the map is not affine in
    them.

    Attributes:
        confidence_weight: (D,) float64.
        confidence_bias: (1,) float64.
    """

    confidence_weight: Tensor
    confidence_bias: Tensor

    @property
    def num_features(self) -> int:
        """D."""
        return len(self.confidence_weight)

    def apply(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Rectified logits (..., K) float64 of logits (..., K) and features (..., D)."""
        logits = logits.double()
        new = affine_logits(logits, self.scale, self.shift)
        features = known_features(features, self.num_features)
        raw = features @ self.confidence_weight + self.confidence_bias
        return mixed_logits(logits, new, raw)
