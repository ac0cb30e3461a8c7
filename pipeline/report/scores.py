"""What each sample's logits say, and their averages of each class (Figures 1, 3 and 5).

N samples, K classes; w = weight_norm (K,). Everything in `metrics` follows from the prediction, the
confidence and the loss of each sample. The average of class j is the mean over the samples *of*
class j of their own logit, divided by w_j for the margin (equation 7). Rectified logits are first
shifted to mean shift 0, since a constant added to all of them changes no prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]

BLOCK_LOGITS = 2**17
"""Logits scored at a time: 1 MiB in float64, which the cache holds. 3,000 x 1000 take two thirds of
the time that blocks of 2**22 take."""


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


@dataclass(frozen=True, kw_only=True)
class ClassAverages:
    """Averages of each class, NaN for a class without a sample.

    Attributes:
        mean_logit: (K,).
        mean_margin: (K,).
        logit_correlation: Spearman's rank correlation of training count and mean logit.
        margin_correlation: the same with the mean margin.
    """

    mean_logit: Floats
    mean_margin: Floats
    logit_correlation: float
    margin_correlation: float


def class_averages(
    scores: SampleScores,
    *,
    margin_norm: Floats,
    class_counts: npt.NDArray[np.int64],
) -> ClassAverages:
    """Averages over scored samples.

    Args:
        scores: of N samples, from shifts of mean 0.
        margin_norm: (K,) w.
        class_counts: (K,) of the training list.
    """
    num_classes = len(class_counts)
    samples = np.bincount(scores.labels, minlength=num_classes)
    total = np.bincount(scores.labels, weights=scores.own_logit, minlength=num_classes)
    mean_logit = np.divide(total, samples, out=np.full(num_classes, np.nan), where=samples > 0)
    mean_margin = np.divide(
        mean_logit, margin_norm, out=np.full(num_classes, np.nan), where=margin_norm > 0
    )
    return ClassAverages(
        mean_logit=mean_logit,
        mean_margin=mean_margin,
        logit_correlation=rank_correlation(class_counts, mean_logit),
        margin_correlation=rank_correlation(class_counts, mean_margin),
    )


def rank_correlation(class_counts: npt.NDArray[np.int64], values: Floats) -> float:
    """Spearman's rho over the classes that have a value; NaN where a side does not vary."""
    from scipy.stats import spearmanr  # half a second to import, and only figures need it

    present = ~np.isnan(values)
    counts, values = class_counts[present], values[present]
    if len(values) < 2 or np.ptp(counts) == 0 or np.ptp(values) == 0:
        return float("nan")
    return float(spearmanr(counts, values).statistic)
