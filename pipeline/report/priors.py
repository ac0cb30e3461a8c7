"""What methods are worth as the classes of a split come in other shares.

N samples, K classes, T exponents t. The shares are pi^t, normalised, with pi those of the training
images: as in training at t = 1, every class alike at 0, reversed at -1. An absent class counts half
an image in pi. Each class's samples count v_j as in `population`, so a metric is a weighted mean of
class means, its variance the sum of v_j^2 n_j s_j^2 with s_j^2 the variance within class j, and a
difference of two methods likewise, from their differences on every sample. A class with one sample
shows no variance, as in `bootstrap`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from marr_pipeline.groups import ABSENT_CLASS_IMAGES
from marr_pipeline.report.population import under_distribution
from marr_pipeline.report.scores import SampleScores

QUANTILE = 1.96
"""Of the normal distribution, for 95 %."""

Floats = npt.NDArray[np.float64]


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
