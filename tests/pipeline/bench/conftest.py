import pytest
import torch

from pipeline.bench.synthetic import SyntheticLogits, logits_in_memory
from pipeline.rectify.inputs import FitInputs


@pytest.fixture(scope="session")
def bench_inputs():
    """300 rows of 7 classes."""
    synthetic = SyntheticLogits(num_samples=300, num_classes=7)
    return FitInputs(
        logits=logits_in_memory(synthetic, dtype=torch.float32),
        labels=synthetic.labels,
        weight_norm=synthetic.weight_norm,
        class_counts=synthetic.class_counts,
        prior_counts=synthetic.class_counts,
    )


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
