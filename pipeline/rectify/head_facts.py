"""What is known of the classifier whose logits are rectified, beside its logits."""

from dataclasses import dataclass

from torch import Tensor

from marr_pipeline.rectify.weighting import log_prior


@dataclass(frozen=True, kw_only=True)
class HeadFacts:
    """K classes.

    Attributes:
        weight_norm: (K,) float64 norms of the head's rows; ones where the head is unknown.
        prior_counts: (K,) images per class that phase one trained on.
        bias: (K,) of the head; None if it has none, or none is known.
    """

    weight_norm: Tensor
    prior_counts: Tensor
    bias: Tensor | None = None

    @property
    def log_prior(self) -> Tensor:
        """(K,) float64 logarithm of the prior of phase one."""
        return log_prior(self.prior_counts)
