"""Which class distribution the metrics of a split are about, and what methods are worth under many.

N samples, K classes, n_j samples of class j in the split, q = the distribution asked for. Under q a
sample of class j counts v_j = q_j / n_j; for the split as it is every sample counts 1.

T exponents t: the shares pi^t, normalised, with pi those of the training images, are as in training
at t = 1, every class alike at 0, reversed at -1. An absent class counts half an image in pi. A
metric is a weighted mean of class means, its variance the sum of v_j^2 n_j s_j^2 with s_j^2 the
variance within class j, and a difference of two methods likewise, from their differences on every
sample. A class with one sample shows no variance, as in `bootstrap`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError
from marr_pipeline.groups import ABSENT_CLASS_IMAGES, head_to_tail
from marr_pipeline.report.scores import SampleScores

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

QUANTILE = 1.96
"""Of the normal distribution, for 95 %."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """K classes of a split and what one sample of each counts.

    Attributes:
        samples: (K,) int64, n_j.
        weight: (K,) float64, v_j; 0 for a class without samples.
    """

    samples: Counts
    weight: Floats

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(K,) classes that have samples."""
        return self.samples > 0

    @property
    def mass(self) -> Floats:
        """(K,) what each class counts in all."""
        return self.weight * self.samples

    @property
    def is_as_sampled(self) -> bool:
        """Whether every sample counts the same, so that the split itself has this distribution."""
        weight = self.weight[self.present]
        return bool(np.allclose(weight, weight[0], rtol=1e-12, atol=0))


def as_sampled(labels: Counts, num_classes: int) -> Population:
    """The split as it is."""
    samples = np.bincount(labels, minlength=num_classes)
    return Population(samples=samples, weight=(samples > 0).astype(np.float64))


def under_distribution(labels: Counts, distribution: Floats) -> Population:
    """The split as if its classes came in another distribution.

    A class without samples says nothing about itself, so its share goes to the others in
    proportion.

    Args:
        labels: (N,) of the split.
        distribution: (K,) q, at least 0, in any unit.

    Raises:
        DataError: none of the classes of the distribution has samples.
    """
    samples = np.bincount(labels, minlength=len(distribution))
    weight = np.divide(
        distribution, samples, out=np.zeros(len(distribution)), where=samples > 0, dtype=np.float64
    )
    total = float((weight * samples).sum())
    if not total > 0:
        raise DataError(
            f"class distribution: weight on a class with samples expected, got none on any of "
            f"{(samples > 0).sum()}; give another distribution or split"
        )
    return Population(samples=samples, weight=weight / total)


def reversed_distribution(class_counts: Counts) -> Floats:
    """(K,) the training distribution turned around: the rarest class comes most often.

    The class of rank r from the head gets the share of the class of rank r from the tail, as in
    the backward long tail of LADE (Hong et al. 2021); among equal counts the label decides the
    rank.
    """
    order = head_to_tail(class_counts)
    distribution = np.empty(len(class_counts))
    distribution[order] = class_counts[order[::-1]] / class_counts.sum()
    return distribution


@dataclass(frozen=True, kw_only=True)
class PriorCurve:
    """One method under every prior: arrays (T,).

    Attributes:
        accuracy: a fraction, with the ends of its 95 % interval.
        accuracy_lead: 2 where it is beyond chance above every other method (each paired difference
            beyond its 95 % interval), 1 where it is the highest without being so, else 0.
        nll: mean negative log likelihood, likewise; the lowest leads.
    """

    accuracy: Floats
    accuracy_low: Floats
    accuracy_high: Floats
    accuracy_lead: npt.NDArray[np.int64]
    nll: Floats
    nll_low: Floats
    nll_high: Floats
    nll_lead: npt.NDArray[np.int64]


def tilted(class_counts: npt.NDArray[np.int64], exponent: float) -> Floats:
    """(K,) pi^t."""
    powers = np.maximum(class_counts, ABSENT_CLASS_IMAGES) ** float(exponent)
    return np.asarray(powers / powers.sum())


def under_priors(
    scores: Mapping[str, SampleScores], class_counts: npt.NDArray[np.int64], exponents: Floats
) -> dict[str, PriorCurve]:
    """Accuracy and likelihood of each method under the shares pi^t.

    Args:
        scores: of each method on the same N samples.
        class_counts: (K,) of the training list.
        exponents: (T,).
    """
    labels = next(iter(scores.values())).labels
    mass = np.stack(
        [under_distribution(labels, tilted(class_counts, t)).mass for t in exponents.tolist()]
    )
    is_right = {name: (one.predicted == one.labels).astype(float) for name, one in scores.items()}
    accuracy = _under(mass, labels, is_right, sign=1)
    nll = _under(mass, labels, {name: one.nll for name, one in scores.items()}, sign=-1)
    return {
        name: PriorCurve(
            accuracy=accuracy[name].mean,
            accuracy_low=accuracy[name].low.clip(min=0),
            accuracy_high=accuracy[name].high.clip(max=1),
            accuracy_lead=accuracy[name].lead,
            nll=nll[name].mean,
            nll_low=nll[name].low,
            nll_high=nll[name].high,
            nll_lead=nll[name].lead,
        )
        for name in scores
    }


class _Standing(NamedTuple):
    """Mean, ends of its interval and lead, (T,) each."""

    mean: Floats
    low: Floats
    high: Floats
    lead: npt.NDArray[np.int64]


def _under(
    mass: Floats, labels: npt.NDArray[np.int64], values: Mapping[str, Floats], *, sign: int
) -> dict[str, _Standing]:
    """Values (N,) of each method under shares (T, K); with sign -1 the lowest leads."""
    found = {name: _mean(mass, labels, one) for name, one in values.items()}
    means = np.stack([mean for mean, _ in found.values()])
    best = (sign * means).argmax(0)
    result = {}
    for i, (name, (mean, error)) in enumerate(found.items()):
        is_clear = np.ones(len(mass), bool)
        for other in values:
            if other != name:
                gain, spread = _mean(mass, labels, sign * (values[name] - values[other]))
                is_clear &= gain > QUANTILE * spread
        lead = (best == i).astype(np.int64) * (1 + is_clear)
        half = QUANTILE * error
        result[name] = _Standing(mean, mean - half, mean + half, lead)
    return result


def _mean(mass: Floats, labels: npt.NDArray[np.int64], values: Floats) -> tuple[Floats, Floats]:
    """Mean (T,) of values (N,) whose classes come in shares (T, K), and its standard error (T,)."""
    num_classes = mass.shape[1]
    samples = np.bincount(labels, minlength=num_classes)
    of_class = np.bincount(labels, values, num_classes) / np.maximum(samples, 1)
    squares = np.bincount(labels, (values - of_class[labels]) ** 2, num_classes)
    variance = squares / np.maximum(samples - 1, 1) / np.maximum(samples, 1)
    return mass @ of_class, np.sqrt(mass**2 @ variance)
