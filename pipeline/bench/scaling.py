"""How time grows with N at fixed K, and with K at fixed N, on synthetic rows.

A pass over the rows is the unit of work, so its time should grow as N K. A fit takes as many passes
as its loss needs, which changes with the rows: so a fit is also judged by its seconds a pass, that
is, at a fixed number of passes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import linear_regression
from typing import Any

import torch

from pipeline.bench.contest import Contest, marr_contest
from pipeline.bench.machine import Machine, machine
from pipeline.bench.settings import ScalingSettings
from pipeline.bench.synthetic import SyntheticLogits, synthetic_inputs
from pipeline.bench.timing import Stopwatch, Timing, interleaved
from pipeline.progress import Progress, silent
from pipeline.rectify.fit import Fit

Size = tuple[int, int]
"""N and K."""
MEASURES = ("pass_seconds", "fit_seconds", "fit_seconds_per_pass")
"""What should grow linearly."""


@dataclass(frozen=True, kw_only=True)
class ScalingPoint:
    """One size.

    Attributes:
        num_samples: N.
        num_classes: K.
        one_pass: loss and gradient in float32 arithmetic.
        fit: certified, by our default optimizer.
    """

    num_samples: int
    num_classes: int
    one_pass: Timing[None]
    fit: Timing[Fit]

    @property
    def pass_seconds(self) -> float:
        """Of the fastest single pass."""
        return self.one_pass.seconds

    @property
    def fit_seconds(self) -> float:
        """Of the fastest fit."""
        return self.fit.seconds

    @property
    def fit_seconds_per_pass(self) -> float:
        """Of the fastest fit."""
        return self.fit.seconds / self.fit.result.passes

    def document(self) -> dict[str, Any]:
        """The times as JSON."""
        found = self.fit.result
        return {
            "samples": self.num_samples,
            "classes": self.num_classes,
            **{name: getattr(self, name) for name in MEASURES},
            "median_pass_seconds": self.one_pass.median_seconds,
            "median_fit_seconds": self.fit.median_seconds,
            "repeats": self.fit.repeats,
            "passes": found.passes,
            "status": found.status.value,
            "gap_bound": found.gap_bound,
        }


@dataclass(frozen=True, kw_only=True)
class Series:
    """Sizes of which one number grows.

    Attributes:
        grows: `samples` or `classes`.
        points: from the smallest to the largest.
    """

    grows: str
    points: tuple[ScalingPoint, ...]

    @property
    def sizes(self) -> list[int]:
        """The number that grows."""
        return [getattr(point, f"num_{self.grows}") for point in self.points]

    def to_linear(self, measure: str) -> float:
        """Growth of a measure from the first point to the last over that of the size."""
        first, last = (getattr(point, measure) for point in (self.points[0], self.points[-1]))
        return float(last / first / (self.sizes[-1] / self.sizes[0]))

    def exponent(self, measure: str) -> float:
        """Slope of its logarithm over that of the size, by least squares; 1 is linear."""
        logarithms = [math.log(getattr(point, measure)) for point in self.points]
        return linear_regression([math.log(size) for size in self.sizes], logarithms).slope

    def document(self) -> dict[str, Any]:
        """The points and how they grow as JSON."""
        return {
            "points": [point.document() for point in self.points],
            "to_linear": {name: self.to_linear(name) for name in MEASURES},
            "exponent": {name: self.exponent(name) for name in MEASURES},
        }


@dataclass(frozen=True, kw_only=True)
class ScalingBench:
    """What was measured.

    Attributes:
        machine: what it was measured on.
        series: over N, and over K.
    """

    machine: Machine
    series: tuple[Series, ...]

    def document(self) -> dict[str, Any]:
        """The series by the number that grows, as JSON."""
        return {
            "machine": self.machine,
            "series": {series.grows: series.document() for series in self.series},
        }


def run_scaling_bench(
    settings: ScalingSettings, *, device: torch.device, progress: Progress = silent
) -> ScalingBench:
    """Make the rows of every size, and time passes and fits of all of them in turn.

    Args:
        settings: which sizes, and what is fitted.
        device: where the rows lie.
        progress: told what runs.

    Raises:
        ConfigError: a size too small for long-tailed rows.
    """
    series = series_of_sizes(settings)
    sizes = list(dict.fromkeys(size for own in series.values() for size in own))
    contests: dict[Size, Contest] = {}
    for size in sizes:
        progress(len(contests), len(sizes) + 2, f"rows {size[0]:,} x {size[1]:,}")
        contests[size] = _contest(size, settings, device)
    progress(len(sizes), len(sizes) + 2, "passes")
    passes = _time_passes(contests, repeat=settings.objective.repeat, device=device)
    progress(len(sizes) + 1, len(sizes) + 2, "fits")
    fits = _time_fits(contests, repeat=settings.objective.repeat, device=device)
    progress(len(sizes) + 2, len(sizes) + 2)
    points = {
        size: ScalingPoint(
            num_samples=size[0], num_classes=size[1], one_pass=passes[size], fit=fits[size]
        )
        for size in sizes
    }
    return ScalingBench(
        machine=machine(device),
        series=tuple(
            Series(grows=name, points=tuple(points[size] for size in own))
            for name, own in series.items()
        ),
    )


def series_of_sizes(settings: ScalingSettings) -> dict[str, list[Size]]:
    """The sizes of the series over `samples` and of that over `classes`."""
    steps = [index / (settings.num_points - 1) for index in range(settings.num_points)]
    factors = [settings.span**step for step in steps]
    samples, classes = settings.num_samples, settings.num_classes
    return {
        "samples": [(round(samples * factor), classes) for factor in factors],
        "classes": [(samples, round(classes * factor)) for factor in factors],
    }


def _contest(size: Size, settings: ScalingSettings, device: torch.device) -> Contest:
    synthetic = SyntheticLogits(
        num_samples=size[0],
        num_classes=size[1],
        imbalance_ratio=settings.imbalance_ratio,
        seed=settings.objective.seed,
    )
    inputs = synthetic_inputs(synthetic, dtype=torch.float32, device=device)
    return marr_contest(inputs, settings.objective)


def _time_passes(
    contests: Mapping[Size, Contest], *, repeat: int, device: torch.device
) -> dict[Size, Timing[None]]:
    def single(contest: Contest) -> Callable[[Stopwatch], None]:
        problem = contest.problem()
        start = contest.start(problem)

        def run(watch: Stopwatch) -> None:
            problem.evaluate(start, precise=False)

        return run

    works = {size: single(contest) for size, contest in contests.items()}
    return interleaved(works, repeat=repeat, device=device)


def _time_fits(
    contests: Mapping[Size, Contest], *, repeat: int, device: torch.device
) -> dict[Size, Timing[Fit]]:
    def whole(contest: Contest) -> Callable[[Stopwatch], Fit]:
        return lambda watch: contest.fit("lbfgs", tolerance=contest.tolerance)

    works = {size: whole(contest) for size, contest in contests.items()}
    return interleaved(works, repeat=repeat, device=device)
