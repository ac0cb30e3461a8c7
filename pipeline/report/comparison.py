"""Methods that scored the same samples, each measured and set against the baselines.

What is known of a method is one tidy row of estimates by metric: the metrics of `SUMMARIES`, their
differences to each reference (`vs_softmax` for overall accuracy, `nll_vs_softmax` for another), the
correlations of class count with mean logit and margin, and what the fit took. Tables and JSON
documents only pick from it.

Of N samples one classifier alone has b right and another alone c. If neither is better, each of
these b + c discordant samples was won by the toss of a coin.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erfc
from scipy.stats import binomtest

from marr_pipeline.groups import PAPER_CUTS, Cuts
from marr_pipeline.names import REFERENCES
from marr_pipeline.report.bootstrap import Bootstrap, bootstrap_interval, bootstrap_summaries
from marr_pipeline.report.metrics import SUMMARIES, measure
from marr_pipeline.report.population import Population
from marr_pipeline.report.scores import SampleScores
from marr_pipeline.report.tables import Cell, Estimate, Interval

WITHOUT_INTERVAL = ("worst_class",)
"""No bootstrap holds its level for a minimum: measured, 46 % on thirty equally hard classes."""

MARKED_AGAINST = REFERENCES[0]
"""Numbers are marked better or worse than its."""
FACTS = ("margin_correlation", "logit_correlation", "parameters", "seconds")
"""Spearman's rho of class count with mean margin and logit; numbers fitted; time from open logits.
"""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A fitted method: all but its rectifier, which may be a whole head.

    Attributes:
        method: its name, without the preset.
        status: how the fit ended.
        fit_split: whose rows were fitted; None where there is nothing to fit.
        scores: on the split.
        facts: the numbers of `FACTS`, as far as they are asked for.
    """

    method: str
    status: str
    fit_split: str | None
    scores: SampleScores
    facts: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A method among others, on one cache or over several that differ in their seeds.

    Attributes:
        method: its name, without the preset.
        status: how the fit ended; several endings with a comma between them.
        fit_split: whose rows were fitted; None where there is nothing to fit.
        per_class: (K,) class accuracies.
        estimates: every number by its key.
        runs: on each cache, where this is their mean.
    """

    method: str
    status: str
    fit_split: str | None
    per_class: Floats
    estimates: Mapping[str, Estimate]
    runs: Sequence["Standing"] = ()

    def values(self) -> dict[str, float]:
        """Every number alone."""
        return {key: estimate.value for key, estimate in self.estimates.items()}

    def cells(self) -> dict[str, Cell]:
        """For tables: every number by its key, the status, and the split fitted if not `train`."""
        split = "" if self.fit_split in (None, "train") else f" ({self.fit_split})"
        return {**self.estimates, "status": self.status + split}

    def record(self) -> dict[str, Any]:
        """For JSON: `interval` is that of overall accuracy, `intervals` has those of all.

        Over several caches also `std`, the spread of every number, and the records of the `runs`.
        """
        found = self.estimates
        record = {
            "method": self.method,
            **{name: found[name].value for name in SUMMARIES},
            "per_class": self.per_class.tolist(),
            "interval": found["overall"].interval,
            "intervals": {name: found[name].interval for name in SUMMARIES},
            **{f"vs_{_word(reference)}": self.difference(reference) for reference in REFERENCES},
            **{name: found[name].value for name in FACTS},
            "status": self.status,
            "fit_split": self.fit_split,
        }
        if self.runs:
            record["std"] = {name: estimate.std for name, estimate in found.items()}
            record["runs"] = [run.record() for run in self.runs]
        return record

    def difference(self, reference: str) -> dict[str, Any] | None:
        """To a reference of `compare_methods`, for JSON, overall accuracy first, as everywhere.

        None for the reference itself.
        """
        if difference_key("overall", reference) not in self.estimates:
            return None
        found = {name: self.estimates[difference_key(name, reference)] for name in SUMMARIES}
        overall = found["overall"]
        return {
            "difference": overall.value,
            "interval": overall.interval,
            "p": overall.p,
            "p_holm": overall.p_holm,
            "differences": {name: one.value for name, one in found.items()},
            "intervals": {name: one.interval for name, one in found.items()},
        }


def difference_key(metric: str, reference: str) -> str:
    """`vs_logit_adjustment` for overall accuracy, `nll_vs_logit_adjustment` for another metric."""
    key = f"vs_{_word(reference)}"
    return key if metric == "overall" else f"{metric}_{key}"


def _word(name: str) -> str:
    return name.replace("-", "_")


def compare_methods(
    scored: Mapping[str, Scored],
    class_counts: npt.NDArray[np.int64],
    *,
    population: Population,
    bootstrap: Bootstrap | None = None,
    cuts: Cuts = PAPER_CUTS,
    references: Sequence[str] = REFERENCES,
) -> dict[str, Standing]:
    """Measure methods and set each against some of them, as softmax and logit adjustment.

    Intervals are of 95 %, for every number that exists but those of `WITHOUT_INTERVAL`. p is that
    of equal overall accuracy (`paired_p_value`); p_holm is corrected over all methods that are set
    against the same reference.

    Args:
        scored: each method on the same N samples, the references among them.
        class_counts: (K,) of the training list.
        population: what a sample of each class counts.
        bootstrap: resamples, the same for all; None for no intervals.
        cuts: between the shot groups.
        references: keys of those that each is set against.
    """
    scores = {key: one.scores for key, one in scored.items()}
    metrics = {
        key: measure(one, class_counts, population=population, cuts=cuts)
        for key, one in scores.items()
    }
    values = {key: one.summaries() for key, one in metrics.items()}
    resampled: Mapping[str, Floats] = {}
    if bootstrap is not None:
        resampled = bootstrap_summaries(
            scores, class_counts, population=population, bootstrap=bootstrap, cuts=cuts
        )
    estimates: dict[str, dict[str, Estimate]] = {}
    for key, value in values.items():
        intervals = _intervals(value, resampled[key]) if resampled else {}
        estimates[key] = {
            name: Estimate(value=value[name], interval=_within_range(name, intervals.get(name)))
            for name in SUMMARIES
        }
    for reference in references:
        others = [key for key in scored if key != reference]
        p_values = [paired_p_value(scores[key], scores[reference], population) for key in others]
        for key, p, p_holm in zip(others, p_values, holm(p_values), strict=True):
            gain = {name: values[key][name] - values[reference][name] for name in SUMMARIES}
            rows = resampled[key] - resampled[reference] if resampled else None
            intervals = {} if rows is None else _intervals(gain, rows)
            for name in SUMMARIES:
                found = Estimate(value=gain[name], interval=intervals.get(name))
                if name == "overall":
                    found = replace(found, p=p, p_holm=float(p_holm))
                estimates[key][difference_key(name, reference)] = found
                if reference == MARKED_AGAINST and bootstrap is not None:
                    own = estimates[key][name]
                    is_tested = found.p_holm is not None or found.interval is not None
                    told = found.is_beyond_chance if is_tested else None
                    estimates[key][name] = replace(own, is_apart=told)
    return {
        key: Standing(
            method=one.method,
            status=one.status,
            fit_split=one.fit_split,
            per_class=metrics[key].per_class,
            estimates=estimates[key]
            | {name: Estimate(value=value) for name, value in one.facts.items()},
        )
        for key, one in scored.items()
    }


def over_seeds(runs: Sequence[Mapping[str, Standing]], keys: Sequence[str]) -> dict[str, Standing]:
    """Mean and standard deviation (n - 1) of every number of some methods over n >= 2 runs.

    Differences stay paired, since each was made within its run.
    """
    found = {}
    for key in keys:
        of_key = [run[key] for run in runs]
        estimates = {}
        for name in of_key[0].estimates:
            values = np.array([one.estimates[name].value for one in of_key])
            estimates[name] = Estimate(value=float(values.mean()), std=float(values.std(ddof=1)))
        found[key] = Standing(
            method=of_key[0].method,
            status=", ".join(dict.fromkeys(one.status for one in of_key)),
            fit_split=of_key[0].fit_split,
            per_class=np.mean([one.per_class for one in of_key], axis=0),
            estimates=estimates,
            runs=of_key,
        )
    return found


def _intervals(values: Mapping[str, float], resampled: Floats) -> dict[str, Interval]:
    return {
        name: bootstrap_interval(values[name], row)
        for name, row in zip(SUMMARIES, resampled, strict=True)
        if name not in WITHOUT_INTERVAL and not np.isnan(values[name])
    }


def _within_range(name: str, interval: Interval | None) -> Interval | None:
    """Cut at 0, and at 1 for what is a fraction."""
    if interval is None:
        return None
    low, high = interval
    return max(low, 0.0), high if name == "nll" else min(high, 1.0)


def paired_p_value(first: SampleScores, second: SampleScores, population: Population) -> float:
    """Two-sided p of equal accuracy in a population of the samples' classes.

    McNemar's exact test where all samples count the same. Otherwise its weighted form: with s = 1
    where only the first is right, -1 where only the second is, and v what a sample counts,
    sum(v s) / sqrt(sum(v^2 s^2)) is standard normal for large counts; with v = 1 its square is
    McNemar's statistic (b - c)^2 / (b + c).
    """
    is_right = first.predicted == first.labels
    won = is_right.astype(np.int64) - (second.predicted == second.labels)
    if population.is_as_sampled:
        num_won, num_lost = int((won > 0).sum()), int((won < 0).sum())
        return exact_mcnemar(num_won, num_lost)
    gain = population.weight[first.labels] * won
    spread = math.sqrt(float((gain**2).sum()))
    return float(erfc(abs(gain.sum()) / (spread * math.sqrt(2)))) if spread > 0 else 1.0


def exact_mcnemar(num_won: int, num_lost: int) -> float:
    """Two-sided p of `num_won` heads in all tosses of a fair coin; 1 without a toss."""
    num_tosses = num_won + num_lost
    return float(binomtest(num_won, num_tosses).pvalue) if num_tosses else 1.0


def holm(p_values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Adjusted p (M,): below alpha, with at most alpha chance of one false finding among M.

    The r-th smallest of M is multiplied by M - r + 1, and none may lie below a smaller one (Holm
    1979).
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    scaled = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty(len(given))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
