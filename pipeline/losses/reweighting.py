"""Cross-entropy with a weight for each class.

Class-balanced weighting (CBW): c_j = K n_j^-1 / sum_k n_k^-1 and the mean of c_y CE. Its name and
its use as a baseline are from Ren et al. (2020), who state no normalisation; this one has mean 1.

Class-Balanced loss, Cui et al. (2019): the effective number of class j is
E_j = (1 - beta^n_j) / (1 - beta), and its weight alpha_j is 1 / E_j, scaled to a sum of K.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from marr_pipeline.losses.focal import sigmoid_focal
from marr_pipeline.losses.options import BelowOne, Exponent
from marr_pipeline.losses.plain import weights_of_present


def class_balanced_weighting(
    logits: Tensor, labels: Tensor, *, class_counts: Tensor, progress: float
) -> Tensor:
    """CBW: (1 / N) sum_i c_(y_i) CE(logits_i, y_i), a plain mean.

    Arguments and result as for `Loss`.
    """
    weights = weights_of_present(class_counts, 1 / class_counts)
    return (weights[labels] * cross_entropy(logits, labels, reduction="none")).mean()


def class_balanced(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    progress: float,
    form: Literal["softmax", "sigmoid", "focal"] = "softmax",
    beta: BelowOne = 0.9999,
    gamma: Exponent = 1.0,
) -> Tensor:
    """Class-Balanced loss: the mean over the batch of alpha_y times the loss of an image.

    Arguments and result as for `Loss`.

    Options:
        form: of an image's loss: cross-entropy, the sum of K binary cross-entropies, or that with
            the focal modulator. Which one a published row has is often not said.
        beta: in [0, 1); 0 weights all alike, near 1 it is 1 / n_j. 0.9999 is the released script's
            for CIFAR; 0.999 goes with iNaturalist.
        gamma: exponent of the focal form; 1 for CIFAR and 0.5 for iNaturalist in released code.
    """
    weights = effective_number_weights(class_counts, beta)[labels]
    if form == "softmax":
        return (weights * cross_entropy(logits, labels, reduction="none")).mean()
    exponent = gamma if form == "focal" else 0.0
    return (weights * sigmoid_focal(logits, labels, gamma=exponent)).mean()


def effective_number_weights(class_counts: Tensor, beta: float) -> Tensor:
    """(K,) alpha of Cui et al. (2019), scaled to a sum of K; 0 for classes without images."""
    # expm1 and log keep the digits that 1 - beta^n loses for beta near 1.
    exponent = class_counts * torch.log(class_counts.new_tensor(beta))
    return weights_of_present(class_counts, (1 - beta) / -torch.expm1(exponent))
