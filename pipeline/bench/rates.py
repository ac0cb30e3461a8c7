"""How much of something is done in a second, and one rate over another from the same run."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from pipeline.bench.timing import Stopwatch, Timing, interleaved

Unit = Literal["images", "rows", "bytes", "files"]


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something to be timed.

    Attributes:
        amount: how much of `unit` one run does, > 0.
        unit: of the amount.
        run: does it once; what it need not be charged for it does in a pause of the clock.
    """

    amount: int
    unit: Unit
    run: Callable[[Stopwatch], None]

    @classmethod
    def of(cls, work: Callable[[], object], *, amount: int, unit: Unit, times: int = 1) -> "Work":
        """Work that needs no pause.

        Args:
            work: done `times` times a run.
            amount: how much of `unit` all of them do.
            unit: of the amount.
            times: at least 1.
        """

        def run(watch: Stopwatch) -> None:
            for _ in range(times):
                work()

        return cls(amount=amount, unit=unit, run=run)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A work and its times.

    Attributes:
        amount: how much of `unit` one run does.
        unit: of the amount.
        seconds: of the fastest run.
        median_seconds: of all runs.
        repeats: how many runs were counted.
    """

    amount: int
    unit: Unit
    seconds: float
    median_seconds: float
    repeats: int

    @classmethod
    def of(cls, work: Work, timing: Timing[None]) -> "Rate":
        """The rate of a work that has been timed."""
        return cls(
            amount=work.amount,
            unit=work.unit,
            seconds=timing.seconds,
            median_seconds=timing.median_seconds,
            repeats=timing.repeats,
        )

    @property
    def per_second(self) -> float:
        """Of the fastest run."""
        return self.amount / self.seconds

    @property
    def median_per_second(self) -> float:
        """Of the median run."""
        return self.amount / self.median_seconds

    def document(self) -> dict[str, Any]:
        """The rate as JSON."""
        return {**asdict(self), "per_second": self.per_second}


@dataclass(frozen=True, kw_only=True)
class RateRatio:
    """One rate over another in the same unit: above 1 the first does more in a second.

    Attributes:
        best: of the fastest runs.
        median: of the median runs.
    """

    best: float
    median: float

    @classmethod
    def of(cls, upper: Rate, lower: Rate) -> "RateRatio":
        """`upper` over `lower`."""
        assert upper.unit == lower.unit
        return cls(
            best=upper.per_second / lower.per_second,
            median=upper.median_per_second / lower.median_per_second,
        )

    def document(self) -> dict[str, float]:
        """The ratio as JSON."""
        return asdict(self)


def measure_rates(
    works: Mapping[str, Work], *, repeat: int, device: torch.device
) -> dict[str, Rate]:
    """Time works in turn, each `repeat` times after a first turn that is not counted."""
    timings = interleaved(
        {name: work.run for name, work in works.items()}, repeat=repeat, device=device
    )
    return {name: Rate.of(work, timings[name]) for name, work in works.items()}
