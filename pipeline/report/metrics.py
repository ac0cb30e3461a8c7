"""The numbers of every table, exactly from counts.

N samples of a split, K classes. Accuracies are fractions. A class without a sample, or a group
without a class, is NaN: empty is not zero.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.groups import shot_groups
from pipeline.report.scores import SampleScores

ECE_BINS = 15

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """One classifier on one split.

    Attributes:
        overall: share of right samples (micro accuracy).
        many: mean class accuracy over the group, like `medium` and `few`.
        macro_f1: mean F1 over the classes that have samples; 0/0 counts 0.
        worst_class: the smallest class accuracy.
        nll: mean negative log likelihood.
        ece: expected calibration error, 15 equal-width bins of the top probability.
        per_class: (K,) class accuracies.
    """

    overall: float
    many: float
    medium: float
    few: float
    macro_f1: float
    worst_class: float
    nll: float
    ece: float
    per_class: Floats

    def record(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON; NaN where there is nothing to average."""
        return {**asdict(self), "per_class": self.per_class.tolist()}


def measure(scores: SampleScores, class_counts: npt.NDArray[np.int64]) -> Metrics:
    """Metrics of scored samples; class_counts (K,) of the training list makes the groups."""
    confusion = confusion_counts(scores, len(class_counts))
    per_class = class_accuracy(confusion)
    present = ~np.isnan(per_class)
    return Metrics(
        overall=float(np.trace(confusion) / confusion.sum()),
        **{name: group_mean(per_class, group) for name, group in shot_groups(class_counts).items()},
        macro_f1=float(_f1(confusion)[present].mean()),
        worst_class=float(per_class[present].min()),
        nll=float(scores.nll.mean()),
        ece=calibration_error(scores),
        per_class=per_class,
    )


def confusion_counts(scores: SampleScores, num_classes: int) -> npt.NDArray[np.int64]:
    """(K, K) samples of each true class (rows) given each prediction (columns)."""
    pairs = scores.labels * num_classes + scores.predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_accuracy(confusion: npt.NDArray[np.int64]) -> Floats:
    """(K,) share of each class's samples that are right; NaN for a class without any."""
    return _divide(np.diagonal(confusion), confusion.sum(1), otherwise=np.nan)


def group_mean(per_class: Floats, members: npt.NDArray[np.bool_]) -> float:
    """Mean over the members that have a value; NaN if none has."""
    values = per_class[members & ~np.isnan(per_class)]
    return float(values.mean()) if values.size else float("nan")


def calibration_error(scores: SampleScores) -> float:
    """sum over bins of (samples in bin / N) |accuracy - mean confidence| (Guo et al. 2017)."""
    bins = np.minimum((scores.confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    surplus = (scores.predicted == scores.labels) - scores.confidence
    return float(np.abs(np.bincount(bins, weights=surplus, minlength=ECE_BINS)).sum() / len(bins))


def _f1(confusion: npt.NDArray[np.int64]) -> Floats:
    """(K,) 2 TP / (samples of the class + predictions of it); 0 where both are 0."""
    return _divide(2 * np.diagonal(confusion), confusion.sum(0) + confusion.sum(1), otherwise=0.0)


def _divide(
    numerator: npt.NDArray[np.int64], denominator: npt.NDArray[np.int64], *, otherwise: float
) -> Floats:
    out = np.full(len(numerator), otherwise)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
