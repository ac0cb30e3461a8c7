"""A method in a comparison: what it is worth and what its fit took, on one cache or on several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from marr_pipeline.report.class_curves import ClassAverages
from marr_pipeline.report.comparison import REFERENCES, Difference, Standing
from marr_pipeline.report.estimate import Estimate, over_seeds
from marr_pipeline.report.metrics import SUMMARIES


class Report(Protocol):
    """Either kind of report."""

    @property
    def status(self) -> str:
        """How the fit ended; several endings with a comma between them."""

    def estimates(self) -> dict[str, Estimate]:
        """Every number by its key: `SUMMARIES`, `vs_softmax`, correlations, costs of the fit."""

    def record(self) -> dict[str, Any]:
        """For JSON."""


@dataclass(frozen=True, kw_only=True)
class MethodReport:
    """A method on one cache.

    Attributes:
        method: its name, without the preset.
        standing: metrics, intervals and differences.
        averages: correlations of class count with mean logit and mean margin.
        num_parameters: numbers that were fitted.
        seconds: of the fit, from open logits.
        status: how it ended.
    """

    method: str
    standing: Standing
    averages: ClassAverages
    num_parameters: int
    seconds: float
    status: str

    def estimates(self) -> dict[str, Estimate]:
        """Every number by its key."""
        standing = self.standing
        found = {
            name: Estimate(value=value, interval=standing.interval.get(name))
            for name, value in standing.metrics.summaries().items()
        }
        for reference, difference in standing.against.items():
            found |= _difference_estimates(difference_key(reference), difference)
        plain = {
            "margin_correlation": self.averages.margin_correlation,
            "logit_correlation": self.averages.logit_correlation,
            "parameters": float(self.num_parameters),
            "seconds": self.seconds,
        }
        return found | {name: Estimate(value=value) for name, value in plain.items()}

    def record(self) -> dict[str, Any]:
        """For JSON: `interval` is that of overall accuracy, `intervals` has those of all."""
        interval = self.standing.interval
        return {
            "method": self.method,
            **self.standing.metrics.record(),
            "harmonic_mean": self.standing.metrics.harmonic_mean,
            "interval": interval.get("overall"),
            "intervals": {name: interval.get(name) for name in SUMMARIES},
            **{
                difference_key(name): _difference_record(self.standing.against.get(name))
                for name in REFERENCES
            },
            "margin_correlation": self.averages.margin_correlation,
            "logit_correlation": self.averages.logit_correlation,
            "parameters": self.num_parameters,
            "seconds": self.seconds,
            "status": self.status,
        }


@dataclass(frozen=True)
class SeedReport:
    """A method on several caches, which differ in their seeds."""

    runs: Sequence[MethodReport]

    @property
    def status(self) -> str:
        """How the fits ended."""
        return ", ".join(dict.fromkeys(run.status for run in self.runs))

    def estimates(self) -> dict[str, Estimate]:
        """Mean and standard deviation of every number."""
        return over_seeds([run.estimates() for run in self.runs])

    def record(self) -> dict[str, Any]:
        """For JSON: the means where a single cache has its values, and `std` with their spread."""
        found = self.estimates()
        per_class = np.array([run.standing.metrics.per_class for run in self.runs])
        return {
            "method": self.runs[0].method,
            **{name: found[name].value for name in SUMMARIES},
            "per_class": per_class.mean(0).tolist(),
            "interval": None,
            "intervals": dict.fromkeys(SUMMARIES),
            **{key: self._difference(key) for key in map(difference_key, REFERENCES)},
            **{
                name: found[name].value
                for name in ("margin_correlation", "logit_correlation", "parameters", "seconds")
            },
            "status": self.status,
            "std": {name: estimate.std for name, estimate in found.items()},
            "runs": [run.record() for run in self.runs],
        }

    def _difference(self, key: str) -> dict[str, Any] | None:
        found = self.estimates()
        if key not in found:
            return None
        return {
            "difference": found[key].value,
            "interval": None,
            "p": None,
            "p_holm": None,
            "differences": {name: found[_metric_key(key, name)].value for name in SUMMARIES},
            "intervals": dict.fromkeys(SUMMARIES),
        }


def difference_key(reference: str) -> str:
    """`vs_logit_adjustment`: of the difference in overall accuracy."""
    return f"vs_{reference.replace('-', '_')}"


def _metric_key(key: str, metric: str) -> str:
    """`vs_softmax`, or for another metric than overall accuracy `nll_vs_softmax`."""
    return key if metric == "overall" else f"{metric}_{key}"


def _difference_estimates(key: str, difference: Difference) -> dict[str, Estimate]:
    return {
        _metric_key(key, name): Estimate(
            value=value,
            interval=difference.interval.get(name),
            p_holm=difference.p_holm if name == "overall" else None,
        )
        for name, value in difference.value.items()
    }


def _difference_record(difference: Difference | None) -> dict[str, Any] | None:
    """Overall accuracy first, as everywhere; None for the reference itself."""
    if difference is None:
        return None
    return {
        "difference": difference.value["overall"],
        "interval": difference.interval.get("overall"),
        "p": difference.p,
        "p_holm": difference.p_holm,
        "differences": dict(difference.value),
        "intervals": {name: difference.interval.get(name) for name in SUMMARIES},
    }
