"""Equalization loss, Tan et al. (2020), in its softmax form: rare classes are spared."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from marr_pipeline.losses.options import Share, Weight


def equalization(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    progress: float,
    probability: Share = 0.9,
    relative_threshold: Weight = 0.5,
) -> Tensor:
    """Mean CE over the classes that are left when rare ones are dropped at random.

    v_k = 1 - B_k [n_k / n < threshold] [k != y], with B_k a fresh coin for every image and class;
    a class with v_k = 0 is left out of the softmax. Arguments and result as for `Loss`.

    Options:
        probability: gamma, that a coin drops a class; 0.9 in a released classification, 0.95 by
            the paper for CIFAR-100.
        relative_threshold: lambda K, the share below which a class is rare in units of 1 / K.
            0.5 is 0.005 for CIFAR-100 and 0.05 for CIFAR-10, as released; the paper has 0.3 for
            CIFAR-100 and 0.43 for ImageNet-LT.
    """
    shares = class_counts / class_counts.sum()
    is_rare = shares < relative_threshold / len(shares)
    coins = torch.rand(logits.shape, device=logits.device) < probability
    is_target = one_hot(labels, logits.shape[1]).bool()
    return cross_entropy(logits.masked_fill(coins & is_rare & ~is_target, -torch.inf), labels)
