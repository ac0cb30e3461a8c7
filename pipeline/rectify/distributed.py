"""Several processes that share one fit: each passes over its part of the rows.

Every process opens the same cache, runs the same solver and holds the same parameters; only sums
over rows travel, in float64. They are gathered and added in the order of the ranks, so every rank
goes on with the same bits, whatever order the network delivers in.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import ConfigError

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of the fit.

    Attributes:
        rank: 0 to size - 1; rank 0 prints and writes.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ConfigError(
                f"RANK: a number in 0..{self.size - 1} for WORLD_SIZE {self.size} expected, got "
                f"{self.rank}; start the processes with torchrun"
            )

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This rank's run of consecutive items; some ranks have none if items are few."""
        begin, end = (len(items) * rank // self.size for rank in (self.rank, self.rank + 1))
        return items[begin:end]

    def gather(self, values: Tensor) -> Tensor:
        """`values` of every rank, in their order, the same on every rank: (size, ...)."""
        if self.size == 1:
            return values[None]
        gathered = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(gathered, values.contiguous())
        return torch.stack(gathered)

    def meet(self) -> None:
        """Wait until every rank is here; fails where another one has failed."""
        if self.size > 1:
            dist.barrier()


ALONE = Ranks()


def ranks_from_environment() -> Ranks:
    """The place that torchrun gave this process; `ALONE` without torchrun.

    Raises:
        ConfigError: the environment contradicts itself.
    """
    place = {}
    for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")):
        text = os.environ.get(name, default)
        if not text.isdecimal():
            raise ConfigError(
                f"{name}: a whole number expected, got {text!r}; start the processes with torchrun"
            )
        place[name] = int(text)
    return Ranks(rank=place["RANK"], size=place["WORLD_SIZE"])


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes of torchrun until the block ends: gloo on a CPU, nccl on GPUs.

    Args:
        device: where the fit runs; a process takes the GPU of its local rank.

    Raises:
        ConfigError: the environment contradicts itself, or has more processes than GPUs.
    """
    ranks = ranks_from_environment()
    if ranks.size == 1:
        yield ranks
        return
    if device.type == "cuda":
        _take_own_gpu()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def _take_own_gpu() -> None:
    local_rank, available = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local_rank >= available:
        raise ConfigError(
            f"torchrun: at most {available} processes on this machine's {available} GPUs "
            f"expected, got local rank {local_rank}; lower --nproc-per-node or use --device cpu"
        )
    torch.cuda.set_device(local_rank)
