"""Balanced Softmax, Ren et al. (2020), which is the logit-adjusted loss of Menon et al. (2021)."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from marr_pipeline.losses.options import BelowOne, Exponent
from marr_pipeline.losses.plain import log_prior


def balanced_softmax(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    progress: float,
    tau: Exponent = 1.0,
    label_smoothing: BelowOne = 0.0,
) -> Tensor:
    """Mean CE(eta + tau log pi, y); at test time the logits are taken as they are.

    Arguments and result as for `Loss`.

    Options:
        tau: how much of the prior; 1 is Balanced Softmax, 0 plain cross-entropy.
        label_smoothing: as for `softmax`.
    """
    adjusted = logits + tau * log_prior(class_counts)
    return cross_entropy(adjusted, labels, label_smoothing=label_smoothing)
