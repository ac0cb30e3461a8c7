"""Focal loss, Lin et al. (2017): images that the network is sure of count less.

Repositories of long-tailed recognition differ in its form; published rows rarely say which.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot, softplus

from marr_pipeline.losses.options import Exponent


def focal(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    progress: float,
    form: Literal["softmax", "sigmoid"] = "softmax",
    gamma: Exponent = 2.0,
    detach_modulator: bool = False,
) -> Tensor:
    """Mean of (1 - P_y)^gamma CE(eta, y), or of its sum over K binary decisions.

    Arguments and result as for `Loss`; no class weights.

    Options:
        form: P of the softmax, or of a sigmoid a class as in the original.
        gamma: at least 0; 0 is plain cross-entropy.
        detach_modulator: keep the modulator out of the gradient, as some released code does.
    """
    if form == "sigmoid":
        return sigmoid_focal(logits, labels, gamma=gamma, detach_modulator=detach_modulator).mean()
    losses = cross_entropy(logits, labels, reduction="none")
    # log(1 - P_y) = logsumexp of the other logits - logsumexp of all: exact where P_y is near 1.
    others = logits.masked_fill(one_hot(labels, logits.shape[1]).bool(), -torch.inf)
    modulator = torch.exp(gamma * (others.logsumexp(1) - logits.logsumexp(1)))
    if detach_modulator:
        modulator = modulator.detach()
    return (modulator * losses).mean()


def sigmoid_focal(
    logits: Tensor, labels: Tensor, *, gamma: float, detach_modulator: bool = False
) -> Tensor:
    """(N,) sum over the classes of (1 - p_t)^gamma BCE, p_t the probability of what is true.

    BCE is softplus(-m) and 1 - p_t = sigmoid(-m) = exp(-softplus(m)), with m the logit, negated
    where the class is not the label's: no value overflows.
    """
    signs = 2.0 * one_hot(labels, logits.shape[1]) - 1
    margins = signs * logits
    modulator = torch.exp(-gamma * softplus(margins))
    if detach_modulator:
        modulator = modulator.detach()
    return (modulator * softplus(-margins)).sum(1)
