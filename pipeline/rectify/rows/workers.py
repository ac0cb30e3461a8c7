"""Threads that each run one-threaded tensor operations on their own part of the rows.

A pass over logits is a dozen operations on a block small enough for the processor's cache. Letting
torch split every one of them over the cores costs a barrier each: 2.0 times `torch.exp` on the
same data at 115,846 x 1000 on two cores, where one thread a core that keeps its block takes 1.2
times. On a machine that is busy with other work a barrier waits for the slowest, and small fits
became 50 times slower.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import islice
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


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


@contextmanager
def one_thread_an_operation() -> Iterator[None]:
    """Keep torch from splitting operations while the block runs."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
