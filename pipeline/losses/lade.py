"""LADE, Hong et al. (2021): Balanced Softmax and a bound that disentangles the training prior.

As the released code has it: its importance term belongs to the column c, where the paper's is of
each image's own label.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from marr_pipeline.losses.balanced_softmax import balanced_softmax
from marr_pipeline.losses.options import Weight
from marr_pipeline.losses.plain import log_prior


def lade(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    progress: float,
    alpha: Weight = 0.1,
    lam: Weight = 0.01,
) -> Tensor:
    """Balanced Softmax + alpha R, R = -sum_c pi_c (A_c - B_c - lam B_c^2), over a batch of N.

    A_c is the mean of eta_ic over the images of class c, 0 without one, and
    B_c = log((1 / N) sum_i exp(eta_ic - log pi_c - log K)). Arguments and result as for `Loss`;
    R is of the batch that a process sees at once, so it depends on how batches are divided.

    Options:
        alpha: weight of R; with 0 it is Balanced Softmax. 0.1 for CIFAR-100, 0.05 for ImageNet-LT
            and iNaturalist, 0.005 for Places-LT.
        lam: weight of the regulariser within R; 0.01, 0.5 and 0.1 there.
    """
    prior = log_prior(class_counts)
    members = one_hot(labels, logits.shape[1]).to(logits.dtype)
    own = (members * logits).sum(0) / members.sum(0).clamp(min=1)
    weighted = logits - prior - math.log(logits.shape[1])
    bound = weighted.logsumexp(0) - math.log(len(logits))
    regulariser = -(torch.exp(prior) * (own - bound - lam * bound**2)).sum()
    plain = balanced_softmax(logits, labels, class_counts=class_counts, progress=progress)
    return plain + alpha * regulariser
