"""The numbers of every table, and the sums over samples that they are made of.

N samples of a split, K classes. Accuracies are fractions. A class without a sample, or a group
without a class, is NaN: empty is not zero.

v_j = what a sample of class j counts (`population`). A sample of class y adds

    to right (K,)       at y                           1 if it is right, whatever v is
    to predicted (K,)   at the predicted class         v_y
    to surplus (15,)    at the bin of its confidence   v_y (right - confidence)
    to nll              its only place                 v_y nll

All sums of one classifier lie in one vector of L = 2K + 16 entries. It is linear in how often each
sample is counted, so the sums of many resamples are one sparse matrix times their counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.groups import PAPER_CUTS, Cuts, shot_groups
from marr_pipeline.report.population import Population, as_sampled
from marr_pipeline.report.scores import SampleScores

SUMMARIES = (
    "overall",
    "balanced",
    "many",
    "medium",
    "few",
    "macro_f1",
    "harmonic_mean",
    "worst_class",
    "nll",
    "ece",
)
"""Metrics that are one number a classifier, in the order of the tables."""

ECE_BINS = 15

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """One classifier on one split.

    Attributes:
        overall: share of right samples (micro accuracy).
        balanced: mean accuracy of the classes that have samples.
        many: mean class accuracy over the group, like `medium` and `few`.
        macro_f1: mean F1 over the classes that have samples; 0/0 counts 0.
        harmonic_mean: of the accuracies of the classes that have samples; 0 if one of them is 0.
        worst_class: the smallest class accuracy.
        nll: mean negative log likelihood.
        ece: expected calibration error, 15 equal-width bins of the top probability.
        per_class: (K,) class accuracies.
        class_f1: (K,) F1 of each class.
    """

    overall: float
    balanced: float
    many: float
    medium: float
    few: float
    macro_f1: float
    harmonic_mean: float
    worst_class: float
    nll: float
    ece: float
    per_class: Floats
    class_f1: Floats

    def summaries(self) -> dict[str, float]:
        """The numbers of `SUMMARIES`."""
        return {name: getattr(self, name) for name in SUMMARIES}

    def record(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON; NaN where there is nothing to average.

        Without the harmonic mean, which `compare` alone gives, and F1 by class.
        """
        numbers = {
            name: value for name, value in self.summaries().items() if name != "harmonic_mean"
        }
        return {**numbers, "per_class": self.per_class.tolist()}


@dataclass(frozen=True)
class Sums:
    """Views of the sums (L, ...) of one classifier; trailing axes are resamples, if there are any.

    Attributes:
        right: (K, ...) right samples of each class.
        predicted: (K, ...) what the predictions of each class count.
        surplus: (15, ...) accuracy above confidence in each bin.
        nll: (...) negative log likelihood.
    """

    right: Floats
    predicted: Floats
    surplus: Floats
    nll: Floats


def score_entries(
    scores: SampleScores, population: Population
) -> tuple[npt.NDArray[np.int64], Floats]:
    """What every sample adds, and where: places in the sums (4, N) and values (4, N)."""
    num_classes = len(population.samples)
    is_right = scores.predicted == scores.labels
    weight = population.weight[scores.labels]
    bins = confidence_bins(scores)
    place = [
        scores.labels,
        num_classes + scores.predicted,
        2 * num_classes + bins,
        np.full(len(bins), 2 * num_classes + ECE_BINS),
    ]
    value = [is_right, weight, weight * (is_right - scores.confidence), weight * scores.nll]
    return np.stack(place), np.stack(value).astype(np.float64)


def confidence_bins(scores: SampleScores) -> npt.NDArray[np.int64]:
    """(N,) which of the 15 equal-width bins each sample's confidence lies in."""
    return np.minimum((scores.confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Samples by their confidence; the calibration error is the mean of |accuracy - confidence|.

    Attributes:
        samples: (15,) int64 in each bin.
        confidence: (15,) their mean; NaN in an empty bin.
        accuracy: (15,) share of them that are right; NaN in an empty bin.
    """

    samples: npt.NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


def reliability(scores: SampleScores, members: npt.NDArray[np.bool_]) -> Reliability:
    """Confidence and accuracy of the samples of some classes (K,) bool, as `ece` bins them."""
    chosen = members[scores.labels]
    bins = confidence_bins(scores)[chosen]
    samples = np.bincount(bins, minlength=ECE_BINS)
    is_right = (scores.predicted == scores.labels)[chosen]
    means = (
        _divide(np.bincount(bins, values, ECE_BINS), samples, otherwise=np.nan)
        for values in (scores.confidence[chosen], is_right)
    )
    return Reliability(samples=samples, confidence=next(means), accuracy=next(means))


def num_sums(num_classes: int) -> int:
    """L."""
    return 2 * num_classes + ECE_BINS + 1


def split_sums(total: Floats, num_classes: int) -> Sums:
    """Name the parts of sums (L, ...)."""
    right, predicted, surplus, nll = np.split(
        total, [num_classes, 2 * num_classes, 2 * num_classes + ECE_BINS]
    )
    return Sums(right, predicted, surplus, nll[0])


def measure(
    scores: SampleScores,
    class_counts: npt.NDArray[np.int64],
    *,
    population: Population | None = None,
    cuts: Cuts = PAPER_CUTS,
) -> Metrics:
    """Metrics of scored samples.

    Args:
        scores: of N samples.
        class_counts: (K,) of the training list, which makes the groups.
        population: what a sample of each class counts; None for the split as it is. Class
            accuracies, groups, worst class and harmonic mean do not depend on it.
        cuts: between the groups.
    """
    num_classes = len(class_counts)
    population = population or as_sampled(scores.labels, num_classes)
    place, value = score_entries(scores, population)
    total = np.bincount(place.ravel(), value.ravel(), num_sums(num_classes))
    sums = split_sums(total.astype(np.float64, copy=False), num_classes)
    summaries = summarise(sums, population, shot_groups(class_counts, cuts))
    return Metrics(
        **{name: float(value) for name, value in summaries.items()},
        per_class=class_accuracy(sums, population),
        class_f1=class_f1(sums, population),
    )


def summarise(
    sums: Sums, population: Population, groups: Mapping[str, npt.NDArray[np.bool_]]
) -> dict[str, Floats]:
    """The numbers of `SUMMARIES` from sums; each has the trailing shape (...) of the sums.

    Args:
        sums: of a classifier, for one sample or for many resamples.
        population: that the sums were weighted by; its samples are those of every resample.
        groups: `many`, `medium` and `few`, each (K,) bool.
    """
    accuracy = class_accuracy(sums, population)
    present, total = population.present, population.mass.sum()
    return {
        "overall": np.tensordot(population.weight, sums.right, 1) / total,
        "balanced": accuracy[present].mean(0),
        **{name: group_mean(accuracy, group & present) for name, group in groups.items()},
        "macro_f1": class_f1(sums, population)[population.mass > 0].mean(0),
        "harmonic_mean": harmonic_mean(accuracy[present]),
        "worst_class": accuracy[present].min(0),
        "nll": sums.nll / total,
        "ece": np.abs(sums.surplus).sum(0) / total,
    }


def class_accuracy(sums: Sums, population: Population) -> Floats:
    """(K, ...) share of each class's samples that are right; NaN for a class without any."""
    return _divide(sums.right, _column(population.samples, sums.right), otherwise=np.nan)


def class_f1(sums: Sums, population: Population) -> Floats:
    """(K, ...) 2 TP / (what the class counts + what its predictions count).

    NaN for a class that does not count.
    """
    true_positive = _column(population.weight, sums.right) * sums.right
    mass = _column(population.mass, sums.right)
    found = _divide(2 * true_positive, mass + sums.predicted, otherwise=np.nan)
    return np.where(mass > 0, found, np.nan)


def group_mean(per_class: Floats, members: npt.NDArray[np.bool_]) -> Floats:
    """Mean (...) of per_class (K, ...) over the members (K,) bool; NaN if there are none."""
    if not members.any():
        return np.full(per_class.shape[1:], np.nan)
    return np.asarray(per_class[members].mean(0))


def harmonic_mean(accuracy: Floats) -> Floats:
    """(...) of accuracies (K, ...): K / sum of 1 / accuracy; 0 if one of them is 0."""
    with np.errstate(divide="ignore"):  # 1/0 is infinite, and the mean then 0
        return np.asarray(len(accuracy) / (1 / accuracy).sum(0))


def confusion_counts(scores: SampleScores, num_classes: int) -> npt.NDArray[np.int64]:
    """(K, K) samples of each true class (rows) given each prediction (columns)."""
    pairs = scores.labels * num_classes + scores.predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _column(per_class: npt.NDArray[Any], like: Floats) -> npt.NDArray[Any]:
    """per_class (K,) with the number of axes of `like` (K, ...)."""
    return per_class.reshape(-1, *[1] * (like.ndim - 1))


def _divide(
    numerator: npt.NDArray[Any], denominator: npt.NDArray[Any], *, otherwise: float
) -> Floats:
    """Quotient, and `otherwise` where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out = np.full(numerator.shape, otherwise)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
