"""The paper's phase two: stochastic gradient descent, on cached rows instead of images.

A step's samples come from a sampler (`sampling`); each time a sample is met, one of its cached
views is drawn. Momentum and weight decay are torch's SGD.
"""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError
from marr_pipeline.optim.result import Solution, conclude
from marr_pipeline.optim.schedule import Schedule
from marr_pipeline.optim.solvable import Solvable
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.rectify.rows.sampling import class_balanced_batches, instance_batches
from marr_pipeline.rectify.rows.workers import one_thread_an_operation


def run_sgd(
    problem: Solvable,
    start: Tensor,
    *,
    schedule: Schedule,
    labels: Tensor,
    num_views: int,
    seed: int,
    tolerance: float,
    batch_problem: Solvable | None = None,
    progress: Progress = silent,
) -> Solution:
    """The last iterate of `schedule` from `start` (P,).

    Args:
        problem: over R = V N rows, view after view; the returned point is one of its points.
        start: (P,) float64.
        schedule: for N samples.
        labels: (N,) int64 of the samples.
        num_views: V.
        seed: of the order and of the views.
        tolerance: decides nothing here; the status is `schedule_end` whatever the gap.
        batch_problem: its loss on the rows of a batch is what a step descends; its ridge is the
            weight decay. `problem` is what it has in expectation. None: `problem` itself.
        progress: told the iterations.
    """
    whole = problem if batch_problem is None else batch_problem
    theta, velocity = start.clone(), torch.zeros_like(start)
    batches = draw_batches(schedule, labels=labels, num_views=num_views, seed=seed)
    with one_thread_an_operation():
        for step, (views, batch) in enumerate(batches):
            gradient = whole.subset(views * len(labels) + batch).evaluate(theta, precise=False)
            velocity.mul_(schedule.momentum).add_(gradient.gradient)
            theta.sub_(schedule.learning_rate(step) * velocity)
            problem.passes += len(batch) / problem.num_rows
            progress(step + 1, schedule.iterations, f"loss {gradient.value:.4f}")
    point = problem.evaluate(theta, precise=True)
    return conclude(problem, point, tolerance=tolerance, steps=schedule.iterations, scheduled=True)


def refuse_partners(resources: Resources) -> None:
    """Raise a ConfigError where several processes would share the rows of a batch."""
    if resources.ranks.size > 1:
        raise ConfigError(
            f"optimizer: lbfgs or newton expected in {resources.ranks.size} processes, got sgd, "
            "whose steps follow one another; start it without torchrun"
        )


def draw_batches(
    schedule: Schedule, *, labels: Tensor, num_views: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Views (B,) and samples (B,) int64 of every step of the schedule."""
    generator = torch.Generator().manual_seed(seed)
    if schedule.sampling == "instance":
        batches = instance_batches(
            len(labels),
            batch_size=schedule.batch_size,
            steps_per_epoch=schedule.steps_per_epoch,
            generator=generator,
        )
    else:
        batches = class_balanced_batches(
            labels, batch_size=schedule.batch_size, generator=generator
        )
    for batch in islice(batches, schedule.iterations):
        yield torch.randint(num_views, batch.shape, generator=generator), batch
