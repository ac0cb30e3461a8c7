"""A rival's run, stopped when its loss first comes within the gap of the optimum.

Only the rival's own time counts. Its own values, in its own arithmetic, tell when it may have
arrived; then the clock stops while F is taken at its point in float64, and that decides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from pipeline.bench.autograd import AutogradObjective
from pipeline.bench.timing import Stopwatch
from pipeline.rectify.problem import Problem

ROUNDING = 1e-5
"""Relative error that a rival's own float32 values may have: worth a look in float64."""


class RaceStatus(StrEnum):
    """How a run ended that is not ours."""

    REACHED = "reached"
    """Its loss came within the gap of the optimum."""
    STOPPED = "stopped"
    """It ended by its own rule before."""
    TIME_LIMIT = "time_limit"
    """It was given up."""
    NOT_INSTALLED = "not_installed"
    """The library is not there."""
    SKIPPED = "skipped"
    """It was not run, for a reason that the record names."""


@dataclass(frozen=True, kw_only=True)
class RaceResult:
    """One run.

    Attributes:
        theta: (P,) where it arrived or ended.
        status: how it ended.
        seconds: its own time until then.
        passes: evaluations of value and gradient.
    """

    theta: Tensor
    status: RaceStatus
    seconds: float
    passes: int


class _RaceOver(Exception):  # noqa: N818 - a way out, not an error
    """Leaves a rival's solver from within its objective."""


class WatchedObjective:
    """The objective that a rival minimises; notes every evaluation.

    Args:
        objective: by autograd.
        problem: the same objective in float64, which decides.
        target: F to arrive at.
        limit_seconds: of the rival's own time.
        watch: already running.
    """

    def __init__(
        self,
        objective: AutogradObjective,
        problem: Problem,
        *,
        target: float,
        limit_seconds: float,
        watch: Stopwatch,
    ) -> None:
        self._objective = objective
        self._problem = problem
        self._target = target
        self._limit_seconds = limit_seconds
        self._watch = watch
        self.passes = 0
        self.last: RaceResult | None = None

    def value(self, theta: Tensor) -> Tensor:
        """F, differentiable, for solvers that call autograd themselves."""
        value = self._objective(theta)
        self._note(theta.detach(), value.item())
        return value

    def value_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """F and its gradient (P,)."""
        value, gradient = self._objective.value_and_gradient(theta)
        self._note(theta.detach(), value)
        return value, gradient

    def _note(self, theta: Tensor, value: float) -> None:
        self.passes += 1
        seconds = self._watch.seconds
        if value <= self._target + ROUNDING * max(1.0, abs(self._target)):
            exact = self._watch.paused(
                lambda: self._problem.evaluate(theta.clone(), precise=True).value
            )
            if exact <= self._target:
                self._end(theta, RaceStatus.REACHED, seconds)
        if seconds > self._limit_seconds:
            self._end(theta, RaceStatus.TIME_LIMIT, seconds)

    def _end(self, theta: Tensor, status: RaceStatus, seconds: float) -> None:
        self.last = RaceResult(
            theta=theta.clone(), status=status, seconds=seconds, passes=self.passes
        )
        raise _RaceOver


RivalSolver = Callable[[WatchedObjective, Tensor], Tensor]
"""(objective, start (P,)) -> where it ended (P,)."""


def race(
    solver: RivalSolver,
    objective: AutogradObjective,
    problem: Problem,
    start: Tensor,
    *,
    target: float,
    limit_seconds: float,
) -> RaceResult:
    """Run a rival until it arrives, ends or is given up."""
    watch = Stopwatch(problem.loss.logits.device)
    watched = WatchedObjective(
        objective, problem, target=target, limit_seconds=limit_seconds, watch=watch
    )
    try:
        theta = solver(watched, start.clone())
    except _RaceOver:
        assert watched.last is not None
        return watched.last
    return RaceResult(
        theta=theta, status=RaceStatus.STOPPED, seconds=watch.seconds, passes=watched.passes
    )
