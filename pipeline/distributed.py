"""Several processes that share one piece of work: each takes its part of the rows.

In a fit every process opens the same cache, runs the same solver and holds the same parameters;
only sums over rows travel, in float64. They are gathered and added in the order of the ranks, so
every rank goes on with the same bits, whatever order the network delivers in. In a training
gradients and statistics of batches travel, in an extraction nothing: the processes meet before and
after it. A signal to stop waits for the end of a step, so that all of them stop after the same one.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from marr_pipeline.errors import ConfigError, PipelineError

Item = TypeVar("Item")

# torch's own limit; longer than any fit goes without a sum.
_FIT_PATIENCE = timedelta(minutes=30)
_POLL_SECONDS = 0.02
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class LostRankError(PipelineError):
    """Another process of the run has ended; its own message says why."""


class LostWorkerError(PipelineError):
    """A process that works for this one has ended, such as one that decodes images."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of the run.

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
        """`values` of every rank, in their order, the same on every rank: (size, ...).

        Raises:
            LostRankError: another rank has ended.
        """
        if self.size == 1:
            return values[None]
        own = values.contiguous()
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        with lost_rank():
            dist.all_gather(gathered, own)
        return torch.stack(gathered)

    def of_first(self, value: bool) -> bool:
        """What rank 0 says, on every rank; raises as `gather` does."""
        return value if self.size == 1 else bool(self.gather(torch.tensor([value]))[0])

    def any(self, value: bool) -> bool:
        """Whether a rank says so, on every rank; raises as `gather` does."""
        return value if self.size == 1 else bool(self.gather(torch.tensor([value])).any())

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Give every rank's tensors the values of rank 0's, in place; raises as `gather` does."""
        if self.size == 1:
            return
        for tensor in tensors:
            values = tensor.detach().contiguous()
            with lost_rank():
                dist.broadcast(values, src=0)
            tensor.detach().copy_(values)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Run the block on rank 0 and then on the others; so what fails everywhere is said once.

        Raises:
            LostRankError: on the others, if the block has failed on rank 0.
        """
        if not self.is_first:
            self.meet()
        yield
        if self.is_first:
            self.meet()

    def meet(self) -> None:
        """Wait until every rank is here; a signal is answered while waiting.

        Raises:
            LostRankError: another rank has ended.
        """
        if self.size == 1:
            return
        with lost_rank():
            # A barrier would wait for the GPU where there is one; a sum on the CPU does not.
            work = dist.all_reduce(torch.zeros(1), async_op=True)
            while not work.is_completed():
                time.sleep(_POLL_SECONDS)
            work.wait()


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
def joined_ranks(
    device: torch.device, *, sums: bool = True, patience: timedelta = _FIT_PATIENCE
) -> Iterator[Ranks]:
    """Join the other processes of torchrun until the block ends.

    Args:
        device: where the work runs; a process takes the GPU of its local rank.
        sums: whether tensors on `device` will travel, which takes nccl on GPUs. Tensors on the
            CPU, and with them all flags, always go by gloo: a GPU is not waited for.
        patience: how long one process may let the others wait.

    Raises:
        ConfigError: the environment contradicts itself, or has more processes than GPUs.
    """
    ranks = ranks_from_environment()
    if ranks.size == 1:
        yield ranks
        return
    if device.type == "cuda":
        _take_own_gpu()
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" and sums else "gloo"
    dist.init_process_group(backend, timeout=patience)
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


@contextmanager
def lost_rank() -> Iterator[None]:
    """Within the block, torch's word for a closed connection becomes a LostRankError."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        reason = str(error).splitlines()[0]
        raise LostRankError(
            f"torchrun: every process at work expected, got one that has ended ({reason}); "
            "see its own message"
        ) from error


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Within the block, Ctrl-C and SIGTERM are only noted; the yielded function tells of it.

    So what is saved afterwards is a whole state. A signal that was sent to the whole process group
    ends the processes that decode images too: that they are lost is then no error but the stop.

    A second Ctrl-C raises KeyboardInterrupt at once. A second SIGTERM does not: schedulers repeat
    it, and those who cannot wait send SIGKILL. Outside the main thread nothing changes: Python
    delivers signals to the main thread only.
    """
    noted = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if noted.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        noted.set()

    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    previous = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield noted.is_set
    except LostWorkerError as error:
        if noted.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _take_own_gpu() -> None:
    local_rank, available = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local_rank >= available:
        raise ConfigError(
            f"torchrun: at most {available} processes on this machine's {available} GPUs "
            f"expected, got local rank {local_rank}; lower --nproc-per-node or use --device cpu"
        )
    torch.cuda.set_device(local_rank)
