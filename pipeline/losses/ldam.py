"""LDAM, Cao et al. (2019): a larger margin for a rarer class, on a cosine head."""

from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from marr_pipeline.losses.options import BelowOne, Scale, Share, Weight
from marr_pipeline.losses.reweighting import effective_number_weights


def ldam(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    progress: float,
    max_margin: Weight = 0.5,
    scale: Scale = 30.0,
) -> Tensor:
    """Mean CE(s (u - m_y e_y), y), with m_j = C n_j^(-1/4) and C such that the largest is given.

    Arguments and result as for `Loss`; the logits are s u, u the cosines of features and rows.

    Options:
        max_margin: m of the rarest class; 0.5, and 0.3 for iNaturalist.
        scale: s of the head and the margins; about 10 works as well by the authors' account.
    """
    return cross_entropy(_with_margins(logits, labels, class_counts, max_margin * scale), labels)


def ldam_drw(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    progress: float,
    max_margin: Weight = 0.5,
    scale: Scale = 30.0,
    beta: BelowOne = 0.9999,
    defer_until: Share = 0.8,
) -> Tensor:
    """LDAM with deferred re-weighting: weights of Cui et al. (2019) in the last part of training.

    Then it is sum_i alpha_(y_i) CE / sum_i alpha_(y_i), as released. Arguments as for `ldam`.

    Options:
        max_margin: as for `ldam`.
        scale: as for `ldam`.
        beta: of the weights.
        defer_until: progress at which they begin; epoch 160 of 200.
    """
    weights = None if progress < defer_until else effective_number_weights(class_counts, beta)
    shifted = _with_margins(logits, labels, class_counts, max_margin * scale)
    return cross_entropy(shifted, labels, weight=weights)


def _with_margins(logits: Tensor, labels: Tensor, class_counts: Tensor, largest: float) -> Tensor:
    present = class_counts.clamp(min=1)
    margins = (present / present.min()) ** -0.25 * largest
    return logits - margins * one_hot(labels, logits.shape[1])
