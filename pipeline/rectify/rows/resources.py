"""What a fit may use: a bound on memory, processes, and threads that each keep to their own rows.

None of it changes the optimum; memory and threads change no bit.

A pass by torch is a dozen operations on a block small enough for the processor's cache. Letting
torch split every one of them over the cores costs a barrier each: 2.0 times `torch.exp` on the
same data at 115,846 x 1000 on two cores, where one thread a core that keeps its block takes 1.2
times. On a machine that is busy with other work a barrier waits for the slowest, and small fits
became 50 times slower.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from threading import Barrier, Lock, local
from typing import TypeVar

import torch

from marr_pipeline.device import available_bytes
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Limits and partners of a fit.

    Attributes:
        memory: bytes that the buffers of all threads may take together, beside the pages of a
            mapped file; None: one set of buffers for each of torch's threads.
        ranks: the processes that share the rows.
    """

    memory: int | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory < 1:
            raise ConfigError(f"memory: at least 1 byte expected, got {self.memory}")

    def spare_bytes(self, device: torch.device) -> int:
        """What rows may take in another form than they are stored in.

        A quarter of the bound, or without one of what the device has free.
        """
        return (available_bytes(device) if self.memory is None else self.memory) // 4

    def without(self, num_bytes: int) -> "Resources":
        """What is left once so many bytes, fewer than the bound, are taken."""
        left = None if self.memory is None else self.memory - num_bytes
        return replace(self, memory=left)

    def num_threads(self, available: int, *, thread_bytes: int) -> int:
        """How many of `available` threads may work at a time.

        Raises:
            ConfigError: the bound has no room for the buffers of a single thread.
        """
        if self.memory is None:
            return available
        if self.memory < thread_bytes:
            raise ConfigError(
                f"memory: at least {-(-thread_bytes // 1024**2)}M expected, the buffers of one "
                f"thread for these rows, got {self.memory / 1024**2:.3g}M; raise memory"
            )
        return min(available, self.memory // thread_bytes)


UNLIMITED = Resources()


class Workers:
    """A pool of threads, none of which lets torch or MKL split an operation."""

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._ahead = 2 * num_threads
        self._pool = ThreadPoolExecutor(num_threads)
        all_started = Barrier(num_threads)

        def start(_: int) -> None:
            torch.set_num_threads(1)
            all_started.wait()

        # torch keeps one count for each thread, and a new thread anywhere takes the last one set:
        # all of ours start here, before the caller's own is set again.
        with one_thread_an_operation():
            list(self._pool.map(start, range(num_threads)))

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """`function(item)` for each item, on all threads at once, in the order of the items.

        A single item, or a single thread's, stays with the caller: handing it over costs more
        than a small pass.
        """
        # MKL keeps one count for the whole process, so the caller's is held at 1 as well.
        with one_thread_an_operation():
            if self._num_threads == 1 or len(items) == 1:
                yield from map(function, items)
            else:
                yield from self._in_order(function, items)

    def _in_order(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Result]:
        """Few items ahead of the result that is waited for: results may be large."""
        pending: deque[Future[Result]] = deque()
        rest = iter(items)
        try:
            pending += (self._pool.submit(function, item) for item in islice(rest, self._ahead))
            while pending:
                yield pending.popleft().result()
                pending += (self._pool.submit(function, item) for item in islice(rest, 1))
        finally:
            for future in pending:
                future.cancel()


@cache
def workers(num_threads: int) -> Workers:
    """The pool of that size; made once, since threads cost more than a small pass."""
    return Workers(num_threads)


_LOCK, _THIS = Lock(), local()
_HELD: list[int] = []
"""The counts that threads keeping torch from splitting operations found, in the order they came."""


@contextmanager
def one_thread_an_operation() -> Iterator[None]:
    """Keep torch from splitting this thread's operations while the block runs.

    Any number of threads may be in such blocks at once; after the last every count is as before:
    torch has a count for each thread, but a thread that is new to it takes the last count set
    anywhere, so one that comes while others hold theirs at 1 may find 1 and must not leave it.
    """
    if getattr(_THIS, "holds", False):
        yield
        return
    _THIS.holds = True
    with _LOCK:
        count = torch.get_num_threads()
        if _HELD and count == 1:
            count = _HELD[-1]
        _HELD.append(count)
        torch.set_num_threads(1)
    try:
        yield
    finally:
        _THIS.holds = False
        with _LOCK:
            _HELD.remove(count)
            torch.set_num_threads(count)
