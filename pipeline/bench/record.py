"""One line of the comparison: a fit, ours or another's, and what came of it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipeline.bench.contest import Contest, Optimum
from pipeline.bench.race import RaceResult, RaceStatus
from pipeline.bench.timing import Timing
from pipeline.rectify.fit import Fit


@dataclass(frozen=True, kw_only=True)
class FitRecord:
    """A fit in the comparison; None where there is nothing to tell.

    Attributes:
        objective: name of the contest.
        fit: name of the part.
        status: ours as `rectify` reports it, others' as in `RaceStatus`.
        why: of a fit that did not run.
        arithmetic: over the rows; ours ends in float64 whatever it begins in.
        seconds: until the loss was within the gap of the optimum (ours: until that was
            certified); None if it never was.
        median_seconds: the same, of all repeats.
        run_seconds: of the fastest run, wherever it ended.
        repeats: how many runs were counted.
        passes: evaluations over all rows.
        loss: F at `theta`, in float64, with its ridge.
        gap: `loss` less that of the optimum.
        gap_bound: certified, of ours.
        times_ours: `seconds` over those of our `lbfgs`, the default optimizer.
        theta: (P,) float64 in the contest's own parameters; not in the document.
    """

    objective: str
    fit: str
    status: str
    why: str | None = None
    arithmetic: str | None = None
    seconds: float | None = None
    median_seconds: float | None = None
    run_seconds: float | None = None
    repeats: int = 0
    passes: float | None = None
    loss: float | None = None
    gap: float | None = None
    gap_bound: float | None = None
    times_ours: float | None = None
    theta: Tensor | None = None

    def document(self) -> dict[str, Any]:
        """The record as JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "theta"}


def our_record(
    contest: Contest, name: str, timing: Timing[Fit], optimum: Optimum | None
) -> FitRecord:
    """A fit of ours: arrived if certified, or if the optimum is known and near."""
    fit = timing.result
    assert fit.loss is not None
    is_near = optimum is not None and fit.loss <= optimum.target
    has_arrived = is_near or (fit.gap_bound is not None and fit.gap_bound <= contest.gap)
    return FitRecord(
        objective=contest.name,
        fit=name,
        status=fit.status.value,
        seconds=timing.seconds if has_arrived else None,
        median_seconds=timing.median_seconds if has_arrived else None,
        run_seconds=timing.seconds,
        repeats=timing.repeats,
        passes=fit.passes,
        loss=fit.loss,
        gap=None if optimum is None else fit.loss - optimum.loss,
        gap_bound=fit.gap_bound,
        theta=contest.theta(fit.rectifier.scale, fit.rectifier.shift),
    )


def rival_record(
    contest: Contest, name: str, timing: Timing[RaceResult], optimum: Optimum, *, arithmetic: str
) -> FitRecord:
    """A general solver's race to the target."""
    result = timing.result
    has_arrived = result.status is RaceStatus.REACHED
    loss = contest.problem().evaluate(result.theta, precise=True).value
    return FitRecord(
        objective=contest.name,
        fit=name,
        status=result.status.value,
        arithmetic=arithmetic,
        seconds=timing.seconds if has_arrived else None,
        median_seconds=timing.median_seconds if has_arrived else None,
        run_seconds=timing.seconds,
        repeats=timing.repeats,
        passes=result.passes,
        loss=loss,
        gap=loss - optimum.loss,
        theta=result.theta,
    )


def peer_record(
    contest: Contest, name: str, timing: Timing[None], theta: Tensor, optimum: Optimum | None
) -> FitRecord:
    """A library's whole fit, which cannot be watched from within."""
    loss = contest.problem().evaluate(theta, precise=True).value
    has_arrived = optimum is not None and loss <= optimum.target
    return FitRecord(
        objective=contest.name,
        fit=name,
        status=(RaceStatus.REACHED if has_arrived else RaceStatus.STOPPED).value,
        seconds=timing.seconds if has_arrived else None,
        median_seconds=timing.median_seconds if has_arrived else None,
        run_seconds=timing.seconds,
        repeats=timing.repeats,
        loss=loss,
        gap=None if optimum is None else loss - optimum.loss,
        theta=theta,
    )


def absent_record(objective: str, name: str, status: RaceStatus, why: str) -> FitRecord:
    """A fit that did not run."""
    return FitRecord(objective=objective, fit=name, status=status.value, why=why)
