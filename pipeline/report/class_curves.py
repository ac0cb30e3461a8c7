"""Per class averages of Figures 1, 3 and 5: own logit, own margin, and what they owe to counts.

N samples, K classes; w = weight_norm (K,). The value of class j is the mean over the samples *of*
class j of their own logit, divided by w_j for the margin (equation 7). Rectified logits are first
shifted to mean shift 0, since a constant added to all of them changes no prediction.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marr_pipeline.report.scores import SampleScores

Floats = npt.NDArray[np.float64]


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
