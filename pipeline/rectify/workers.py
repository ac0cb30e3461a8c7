"""Threads that each run one-threaded tensor operations on their own part of the rows.

A pass over logits is a dozen operations on a block small enough for the processor's cache. Letting
torch split every one of them over the cores costs a barrier each: 2.0 times `torch.exp` on the
same data at 115,846 x 1000 on two cores, where one thread a core that keeps its block takes 1.2
times. On a machine that is busy with other work a barrier waits for the slowest, and small fits
became 50 times slower.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """A pool of threads, none of which lets torch split an operation."""

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads, initializer=_use_one_thread)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`function(item)` for each item, on all threads at once, in the order of the items."""
        yield from self._pool.map(function, items)
        # The count is per thread, but a new thread anywhere would inherit the last one set.
        if torch.get_num_threads() != self._num_threads:
            torch.set_num_threads(self._num_threads)


@cache
def workers(num_threads: int) -> Workers:
    """The pool of that size; made once, since threads cost more than a small pass."""
    return Workers(num_threads)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
