"""Classifiers that scored the same samples, each measured and set against the baselines."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marr_pipeline.report.bootstrap import Bootstrap, bootstrap_interval, bootstrap_summaries
from marr_pipeline.report.estimate import Interval
from marr_pipeline.report.metrics import SUMMARIES, Metrics, measure
from marr_pipeline.report.population import Population
from marr_pipeline.report.scores import SampleScores
from marr_pipeline.report.significance import holm, paired_p_value

REFERENCES = ("softmax", "logit-adjustment")
"""What every method is set against."""

WITHOUT_INTERVAL = ("worst_class",)
"""No bootstrap holds its level for a minimum: measured, 46 % on thirty equally hard classes."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A classifier less a reference, on the same samples.

    Attributes:
        value: of each metric of `SUMMARIES`.
        interval: 95 % of each that exists, but for `WITHOUT_INTERVAL`; empty without a bootstrap.
        p: of equal overall accuracy; see `significance.paired_p_value`.
        p_holm: the same, corrected over all classifiers that are set against the reference.
    """

    value: Mapping[str, float]
    interval: Mapping[str, Interval]
    p: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One classifier among others.

    Attributes:
        metrics: of its scores.
        interval: 95 % of each metric that exists, but for `WITHOUT_INTERVAL`; empty without a
            bootstrap.
        against: its difference to each reference but itself.
    """

    metrics: Metrics
    interval: Mapping[str, Interval]
    against: Mapping[str, Difference]


def compare_scores(
    scores: Mapping[str, SampleScores],
    class_counts: npt.NDArray[np.int64],
    *,
    population: Population,
    bootstrap: Bootstrap | None = None,
) -> dict[str, Standing]:
    """Measure classifiers and set each against softmax and logit adjustment.

    Args:
        scores: of each classifier on the same N samples, `REFERENCES` among them.
        class_counts: (K,) of the training list.
        population: what a sample of each class counts.
        bootstrap: resamples, the same for all; None for no intervals.
    """
    metrics = {
        name: measure(one, class_counts, population=population) for name, one in scores.items()
    }
    values = {name: one.summaries() for name, one in metrics.items()}
    resampled: Mapping[str, Floats] = {}
    if bootstrap is not None:
        resampled = bootstrap_summaries(
            scores, class_counts, population=population, bootstrap=bootstrap
        )
    against: dict[str, dict[str, Difference]] = {name: {} for name in scores}
    for reference in REFERENCES:
        others = [name for name in scores if name != reference]
        p_values = [paired_p_value(scores[name], scores[reference], population) for name in others]
        for name, p, p_holm in zip(others, p_values, holm(p_values), strict=True):
            difference = {key: values[name][key] - values[reference][key] for key in SUMMARIES}
            interval = {}
            if resampled:
                interval = _intervals(difference, resampled[name] - resampled[reference])
            against[name][reference] = Difference(
                value=difference, interval=interval, p=p, p_holm=float(p_holm)
            )
    return {
        name: Standing(
            metrics=metrics[name],
            interval=_within_range(_intervals(values[name], resampled[name])) if resampled else {},
            against=against[name],
        )
        for name in scores
    }


def _intervals(values: Mapping[str, float], resampled: Floats) -> dict[str, Interval]:
    return {
        name: bootstrap_interval(values[name], row)
        for name, row in zip(SUMMARIES, resampled, strict=True)
        if name not in WITHOUT_INTERVAL and not np.isnan(values[name])
    }


def _within_range(intervals: Mapping[str, Interval]) -> dict[str, Interval]:
    """Cut at 0, and at 1 for what is a fraction."""
    highest = {"nll": np.inf}
    return {
        name: (float(np.clip(low, 0, None)), float(np.clip(high, None, highest.get(name, 1))))
        for name, (low, high) in intervals.items()
    }
