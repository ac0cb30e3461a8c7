"""The paper's phase two: stochastic gradient descent, on cached rows instead of images.

Each epoch goes once over the samples in a fresh order (instance-balanced, Algorithm 2); each time
a sample is met, one of its cached views is drawn. Momentum and weight decay are torch's SGD.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.progress import Progress, silent
from pipeline.rectify.problem import Problem
from pipeline.rectify.schedule import Schedule
from pipeline.rectify.solvers.result import Solution, conclude


def run_sgd(
    problem: Problem,
    start: Tensor,
    *,
    schedule: Schedule,
    num_views: int,
    seed: int,
    tolerance: float,
    progress: Progress = silent,
) -> Solution:
    """The last iterate of `schedule` from `start` (P,).

    Args:
        problem: over R = V N rows, view after view; its ridge is the weight decay.
        start: (P,) float64.
        schedule: for N samples.
        num_views: V.
        seed: of the order and of the views.
        tolerance: decides nothing here; the status is `schedule_end` whatever the gap.
        progress: told the iterations.
    """
    num_samples = problem.loss.num_rows // num_views
    theta, velocity = start.clone(), torch.zeros_like(start)
    batches = draw_batches(schedule, num_samples=num_samples, num_views=num_views, seed=seed)
    for step, (views, batch) in enumerate(batches):
        gradient = problem.subset(views * num_samples + batch).evaluate(theta, precise=False)
        velocity.mul_(schedule.momentum).add_(gradient.gradient)
        theta.sub_(schedule.learning_rate(step) * velocity)
        problem.passes += len(batch) / problem.loss.num_rows
        progress(step + 1, schedule.iterations, f"loss {gradient.value:.4f}")
    point = problem.evaluate(theta, precise=True)
    return conclude(problem, point, tolerance=tolerance, steps=schedule.iterations, scheduled=True)


def draw_batches(
    schedule: Schedule, *, num_samples: int, num_views: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Views (B,) and samples (B,) int64 of every step of the schedule."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(schedule.iterations):
        position = step % schedule.steps_per_epoch
        if position == 0:
            order = torch.randperm(num_samples, generator=generator)
        batch = order[position * schedule.batch_size : (position + 1) * schedule.batch_size]
        yield torch.randint(num_views, batch.shape, generator=generator), batch
