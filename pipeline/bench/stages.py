"""Pieces of work done once, each with its seconds and the memory it took."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from pipeline.bench.memory import MemoryUse, MemoryWatch
from pipeline.bench.timing import Stopwatch

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One piece of work.

    Attributes:
        num_bytes: that it went over.
        seconds: less what it did in a pause of the clock.
        memory: of the process meanwhile.
    """

    num_bytes: int
    seconds: float
    memory: MemoryUse

    @property
    def bytes_per_second(self) -> float:
        """Its speed."""
        return self.num_bytes / self.seconds

    def document(self) -> dict[str, Any]:
        """The stage as JSON."""
        return {
            "bytes": self.num_bytes,
            "seconds": self.seconds,
            "bytes_per_second": self.bytes_per_second,
            "memory": self.memory.document(),
        }


def run_stage(work: Callable[[Stopwatch], Result], *, num_bytes: int) -> tuple[Result, Stage]:
    """Do a piece of work on the CPU, which may pause its clock."""
    with MemoryWatch() as memory:
        watch = Stopwatch(torch.device("cpu"))
        result = work(watch)
        seconds = watch.seconds
    return result, Stage(num_bytes=num_bytes, seconds=seconds, memory=memory.use)
