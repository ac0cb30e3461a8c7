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
