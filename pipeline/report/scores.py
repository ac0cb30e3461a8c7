"""What each sample's logits say: prediction, confidence and loss.

N samples, K classes. Everything in `metrics` follows from these numbers a sample.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

BLOCK_LOGITS = 2**22
"""Logits scored at a time: 32 MiB in float64."""


@dataclass(frozen=True)
class SampleScores:
    """One entry a sample.

    Attributes:
        labels: (N,) int64.
        predicted: (N,) int64, the class of the largest logit; the first of equals.
        confidence: (N,) float64, its softmax probability.
        nll: (N,) float64, -log softmax probability of the label.
        own_logit: (N,) float64, the logit of the label.
    """

    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    nll: npt.NDArray[np.float64]
    own_logit: npt.NDArray[np.float64]


def score_samples(
    rectified: Callable[[slice], Tensor], labels: Tensor, *, num_classes: int
) -> SampleScores:
    """Score N samples against their labels (N,), in float64 by blocks.

    Args:
        rectified: logits (B, K) float64 of a block of consecutive samples.
        labels: (N,) int64.
        num_classes: K.
    """
    num_samples = len(labels)
    predicted = torch.empty(num_samples, dtype=torch.int64)
    confidence = torch.empty(num_samples, dtype=torch.float64)
    nll = torch.empty(num_samples, dtype=torch.float64)
    own = torch.empty(num_samples, dtype=torch.float64)
    step = max(1, BLOCK_LOGITS // num_classes)
    for start in range(0, num_samples, step):
        rows = slice(start, min(start + step, num_samples))
        logits = rectified(rows)
        own[rows] = logits.gather(1, labels[rows, None])[:, 0]
        log_probability = torch.log_softmax(logits, 1)
        largest, predicted[rows] = log_probability.max(1)
        confidence[rows] = largest.exp()
        nll[rows] = -log_probability.gather(1, labels[rows, None])[:, 0]
    return SampleScores(
        labels.numpy(), predicted.numpy(), confidence.numpy(), nll.numpy(), own.numpy()
    )
