"""Learning-rate schedules of phase two: the paper's text, and what the released code really runs.

N samples, s = batch size, e = epoch from 0. MARR's released code counts epochs by its loader's
length ceil(N / s) but leaves each epoch before its floor(N / s)-th batch, so an epoch has
floor(N / s) - 1 steps; it changes the rate once an epoch.
"""

import math
from dataclasses import dataclass
from typing import Literal

from marr_pipeline.protocols import protocol_of
from marr_pipeline.rectify.rows.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long, in what batches and at what rate SGD runs.

    Attributes:
        iterations: optimiser steps in all.
        steps_per_epoch: after which a new order of the samples is drawn.
        batch_size: samples a step.
        epochs: whole epochs, where the rate changes by epoch.
        peak_rate: from which the cosine falls.
        warmup_epochs: epochs in which the rate rises to the peak from half of it.
        per_epoch: whether the rate changes by epoch or by step.
        epochs_ahead: of the rate. 1 where the code steps its scheduler before each epoch, which
            leaves out the peak and runs the last epoch at rate 0.
        momentum: of SGD.
        sampling: how a step's samples are drawn.
    """

    iterations: int
    steps_per_epoch: int
    batch_size: int
    epochs: int
    peak_rate: float
    warmup_epochs: int = 0
    per_epoch: bool = False
    epochs_ahead: int = 0
    momentum: float = 0.9
    sampling: Sampling = "instance"

    def learning_rate(self, step: int) -> float:
        """Rate of step 0, 1, ...: cosine to 0, after a linear warm-up where there is one."""
        if not self.per_epoch:
            return _cosine(self.peak_rate, step / self.iterations)
        epoch, warmup = step // self.steps_per_epoch + self.epochs_ahead, self.warmup_epochs
        if epoch < warmup:
            return self.peak_rate / 2 * (1 + (epoch - 1) / max(warmup - 1, 1))
        return _cosine(self.peak_rate, (epoch - warmup) / (self.epochs - warmup))


def phase_two_schedule(
    preset: Literal["default", "paper", "official"], dataset: str | None, num_samples: int
) -> Schedule:
    """The schedule of a preset (`default` has the paper's) on N samples of a dataset."""
    terms = protocol_of(dataset).marr["official" if preset == "official" else "paper"]
    batch_size = min(terms.batch_size, num_samples)
    batches = math.ceil(num_samples / batch_size)
    if preset == "official":
        steps = max(num_samples // batch_size - 1, 1)
        epochs = terms.epochs or math.ceil(terms.iterations / batches)
        return Schedule(
            iterations=epochs * steps,
            steps_per_epoch=steps,
            batch_size=batch_size,
            epochs=epochs,
            peak_rate=terms.peak_rate,
            warmup_epochs=math.ceil(terms.warmup_iterations / batches),
            per_epoch=True,
        )
    iterations = terms.iterations if terms.epochs is None else terms.epochs * batches
    return Schedule(
        iterations=iterations,
        steps_per_epoch=batches,
        batch_size=batch_size,
        epochs=math.ceil(iterations / batches),
        peak_rate=terms.peak_rate,
    )


def _cosine(peak: float, progress: float) -> float:
    return peak * (1 + math.cos(math.pi * progress)) / 2
