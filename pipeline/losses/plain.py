"""What a training loss is, the plain one, and what several others share.

N images in a batch, K classes, n_j training images of class j, logits eta (N, K), labels y (N,).
CE(eta, y) = logsumexp(eta) - eta_y.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from marr_pipeline.groups import ABSENT_CLASS_IMAGES
from marr_pipeline.losses.options import BelowOne


class Loss(Protocol):
    """A training loss; its further keyword arguments are the options of the method."""

    def __call__(
        self, logits: Tensor, labels: Tensor, *, class_counts: Tensor, progress: float
    ) -> Tensor:
        """The loss of a batch, as a scalar.

        Args:
            logits: (N, K) float32 or wider.
            labels: (N,) int64.
            class_counts: (K,) n, of the logits' type, on their device.
            progress: of the training, from 0 at the first step to less than 1.
        """
        ...


def softmax(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    progress: float,
    label_smoothing: BelowOne = 0.0,
) -> Tensor:
    """Mean cross-entropy. Arguments and result as for `Loss`.

    Options:
        label_smoothing: share of the target that is spread over all classes, Szegedy et al. (2016).
    """
    return cross_entropy(logits, labels, label_smoothing=label_smoothing)


def log_prior(class_counts: Tensor) -> Tensor:
    """(K,) log of the classes' shares, n_j / n; an absent class counts for half an image."""
    counts = class_counts.clamp(min=ABSENT_CLASS_IMAGES)
    return torch.log(counts / counts.sum())


def weights_of_present(class_counts: Tensor, weights: Tensor) -> Tensor:
    """(K,) the weights scaled to a sum of K; 0 for classes without images, whatever theirs is."""
    present = torch.where(class_counts > 0, weights, 0.0)
    return present * (len(present) / present.sum())
