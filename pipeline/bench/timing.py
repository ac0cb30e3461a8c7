"""Clocks that wait for the device, and the least of several runs."""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")

LONG_SECONDS = 20.0
"""A first run that took longer is the measurement: its warm-up is a small part of it."""


class Stopwatch:
    """Seconds since it was made, less those spent in `paused` work.

    Args:
        device: its queue is emptied before the clock is read.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._paused = 0.0
        self._begin = now(device)

    @property
    def seconds(self) -> float:
        """Elapsed so far."""
        return now(self._device) - self._begin - self._paused

    def paused(self, work: Callable[[], Result]) -> Result:
        """Do work that the clock does not see."""
        begin = now(self._device)
        result = work()
        self._paused += now(self._device) - begin
        return result


@dataclass(frozen=True, kw_only=True)
class Timing(Generic[Result]):
    """Several runs of one thing.

    Attributes:
        seconds: of the fastest, the one least disturbed by other work.
        median_seconds: of all.
        repeats: how many runs were counted.
        result: of the last.
    """

    seconds: float
    median_seconds: float
    repeats: int
    result: Result


def now(device: torch.device) -> float:
    """A monotonic clock in seconds, read when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def repeated(
    run: Callable[[], tuple[float, Result]],
    *,
    repeat: int,
    is_worth: Callable[[Result], bool] = lambda result: True,
) -> Timing[Result]:
    """Run once to warm up, then `repeat` times.

    Args:
        run: gives its seconds and its result.
        repeat: counted runs; the first alone counts if it was long or not worth repeating.
        is_worth: whether a first result deserves a better time.
    """
    seconds, result = run()
    counted = [seconds]
    if seconds <= LONG_SECONDS and is_worth(result):
        counted = []
        for _ in range(repeat):
            seconds, result = run()
            counted.append(seconds)
    return Timing(
        seconds=min(counted), median_seconds=median(counted), repeats=len(counted), result=result
    )


def timed(work: Callable[[], Result], *, repeat: int, device: torch.device) -> Timing[Result]:
    """Time whole calls of `work`."""

    def run() -> tuple[float, Result]:
        watch = Stopwatch(device)
        result = work()
        return watch.seconds, result

    return repeated(run, repeat=repeat)


def interleaved(
    works: Mapping[Key, Callable[[Stopwatch], Result]], *, repeat: int, device: torch.device
) -> dict[Key, Timing[Result]]:
    """Time several works in turn: A B, A B, A B.

    What else the machine does then falls on all of them alike, so that their ratio is worth more
    than the times themselves. The first turn warms up and is not counted.

    Args:
        works: each is given its running clock, which it may pause.
        repeat: counted turns.
        device: where they compute.
    """
    seconds: dict[Key, list[float]] = {name: [] for name in works}
    results: dict[Key, Result] = {}
    for turn in range(repeat + 1):
        for name, work in works.items():
            watch = Stopwatch(device)
            results[name] = work(watch)
            elapsed = watch.seconds
            if turn > 0:
                seconds[name].append(elapsed)
    return {
        name: Timing(
            seconds=min(counted),
            median_seconds=median(counted),
            repeats=len(counted),
            result=results[name],
        )
        for name, counted in seconds.items()
    }
