import mmap

import pytest
import torch

from pipeline.bench.synthetic import SyntheticLogits, synthetic_inputs
from pipeline.bench.timing import Timing


@pytest.fixture(scope="session")
def bench_inputs():
    """300 rows of 7 classes."""
    synthetic = SyntheticLogits(num_samples=300, num_classes=7)
    return synthetic_inputs(synthetic, dtype=torch.float32, device=torch.device("cpu"))


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when told."""

    class Clock:
        seconds = 0.0

        def wait(self, seconds):
            self.seconds += seconds

    found = Clock()
    monkeypatch.setattr("pipeline.bench.timing.now", lambda device: found.seconds)
    return found


@pytest.fixture(scope="session")
def timing_of():
    """A timing of given seconds, as of three runs of which the median took twice as long."""

    def make(seconds, result=None):
        return Timing(seconds=seconds, median_seconds=2 * seconds, repeats=3, result=result)

    return make


@pytest.fixture
def fresh_memory():
    """Bytes the kernel had not given this process before.

    An allocator may answer from memory that was freed and kept, so that nothing is to be seen.
    """
    maps = []

    def take(num_bytes):
        memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        maps.append(memory)
        memory[:: mmap.PAGESIZE] = b"\1" * (num_bytes // mmap.PAGESIZE)
        return memory

    yield take
    for memory in maps:
        memory.close()
