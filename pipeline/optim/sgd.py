"""Stochastic gradient descent on a schedule: the paper's phase two, on cached rows for images.

Momentum and weight decay are torch's SGD. The rate falls as a cosine, by step or by epoch.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from marr_pipeline.optim.solvable import Solution, Solvable, conclude
from marr_pipeline.progress import Progress, silent


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

    def learning_rate(self, step: int) -> float:
        """Rate of step 0, 1, ...: cosine to 0, after a linear warm-up where there is one."""
        if not self.per_epoch:
            return _cosine(self.peak_rate, step / self.iterations)
        epoch, warmup = step // self.steps_per_epoch + self.epochs_ahead, self.warmup_epochs
        if epoch < warmup:
            return self.peak_rate / 2 * (1 + (epoch - 1) / max(warmup - 1, 1))
        return _cosine(self.peak_rate, (epoch - warmup) / (self.epochs - warmup))


def run_sgd(
    problem: Solvable,
    start: Tensor,
    batches: Iterable[Tensor],
    *,
    schedule: Schedule,
    batch_problem: Solvable,
    tolerance: float,
    progress: Progress = silent,
) -> Solution:
    """The last iterate from `start` (P,).

    Args:
        problem: what a batch has in expectation; the returned point is one of its points.
        start: (P,) float64.
        batches: rows (B,) int64 of every step.
        schedule: of the rate.
        batch_problem: its loss on the rows of a batch is what a step descends; its ridge is the
            weight decay.
        tolerance: decides nothing here; the status is `schedule_end` whatever the gap.
        progress: told the iterations.
    """
    theta, velocity = start.clone(), torch.zeros_like(start)
    for step, rows in enumerate(batches):
        there = batch_problem.subset(rows).evaluate(theta, precise=False)
        velocity.mul_(schedule.momentum).add_(there.gradient)
        theta.sub_(schedule.learning_rate(step) * velocity)
        problem.passes += len(rows) / problem.num_rows
        progress(step + 1, schedule.iterations, f"loss {there.value:.4f}")
    point = problem.evaluate(theta, precise=True)
    return conclude(problem, point, tolerance=tolerance, steps=schedule.iterations, scheduled=True)


def _cosine(peak: float, progress: float) -> float:
    return peak * (1 + math.cos(math.pi * progress)) / 2
