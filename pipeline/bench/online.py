"""The paper's phase two as published: the frozen network in every step, on fresh augmentations.

Algorithm 2 of the paper draws a batch of images, augments them, runs the backbone and takes a step
of SGD in omega and beta, by autograd. Given the batches and views of our own `sgd`, which takes
cached rows, it must arrive at the same numbers up to rounding; what it costs more is the network.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.bench.agreement import Agreement, RectifiedRows, compare_rectified
from pipeline.bench.autograd import AutogradObjective
from pipeline.bench.contest import Contest
from pipeline.bench.timing import Stopwatch, timed
from pipeline.errors import ConfigError
from pipeline.progress import Progress, silent
from pipeline.rectify.affine_fit import build_ridge
from pipeline.rectify.rectifier import Rectifier
from pipeline.rectify.schedule import Schedule, phase_two_schedule
from pipeline.rectify.solvers.sgd import draw_batches, run_sgd
from pipeline.rectify.weighting import class_weights

ViewLogits = Callable[[Tensor, Tensor], Tensor]
"""(views (B,) int64, samples (B,) int64) -> logits (B, K) of those images, augmented anew."""


@dataclass(frozen=True, kw_only=True)
class OnlineBench:
    """The online way beside ours.

    Ours need the cache, for which the network goes once over every cached view; that is not
    counted in their seconds.

    Attributes:
        steps: of the online loop that were run; our `sgd` takes the same.
        schedule_steps: of the paper's schedule on this dataset.
        images: that the network saw in those steps.
        seconds: of the online loop.
        sgd_seconds: of our `sgd`, the same steps on cached rows.
        lbfgs_seconds: of our default optimizer to its certified minimum.
        agreement: of the online loop's rectified probabilities with those of our `sgd`, on the
            fitted rows.
    """

    steps: int
    schedule_steps: int
    images: int
    seconds: float
    sgd_seconds: float
    lbfgs_seconds: float
    agreement: Agreement

    @property
    def is_extrapolated(self) -> bool:
        """Whether the schedule was cut short, so that the whole loop's time is an estimate."""
        return self.steps < self.schedule_steps

    @property
    def schedule_seconds(self) -> float:
        """Of the whole schedule, online: measured, or in proportion to the steps."""
        return self.seconds * self.schedule_steps / self.steps

    @property
    def schedule_images(self) -> int:
        """That the network sees in the whole schedule: counted, or in proportion to the steps."""
        return round(self.images * self.schedule_steps / self.steps)

    @property
    def speed_ups(self) -> dict[str, float]:
        """Of our `sgd` over the same steps, and of `lbfgs` over the whole schedule."""
        return {
            "sgd": self.seconds / self.sgd_seconds,
            "lbfgs": self.schedule_seconds / self.lbfgs_seconds,
        }

    def document(self) -> dict[str, Any]:
        """The comparison as JSON."""
        return {
            "steps": self.steps,
            "schedule_steps": self.schedule_steps,
            "images": self.images,
            "seconds": self.seconds,
            "schedule_seconds": self.schedule_seconds,
            "schedule_images": self.schedule_images,
            "is_extrapolated": self.is_extrapolated,
            "sgd_seconds": self.sgd_seconds,
            "lbfgs_seconds": self.lbfgs_seconds,
            "speed_up": self.speed_ups,
            "differences": {
                "probabilities": self.agreement.probabilities.document(),
                "changed_predictions": self.agreement.changed,
                "rows": self.agreement.num_rows,
            },
        }


def run_online_bench(
    contest: Contest,
    logits_of: ViewLogits,
    *,
    dataset: str | None,
    steps: int | None,
    repeat: int,
    progress: Progress = silent,
) -> OnlineBench:
    """Run the paper's loop once, and ours on the cached rows.

    Args:
        contest: the objective over cached rows.
        logits_of: the frozen network on the images behind them.
        dataset: name, which decides the length of the schedule.
        steps: length of the schedule in place of the paper's; None for that.
        repeat: timed runs of ours, after one that is not counted; the online loop runs once.
        progress: told the steps of the online loop.

    Raises:
        ConfigError: fewer than one step, or more than the schedule has.
    """
    inputs = contest.inputs
    whole = phase_two_schedule("paper", dataset, len(inputs.labels))
    if steps is not None and not 1 <= steps <= whole.iterations:
        raise ConfigError(
            f"--steps: 1 to {whole.iterations:,} expected, the paper's schedule here, got {steps}"
        )
    schedule = whole if steps is None else replace(whole, iterations=steps)
    watch = Stopwatch(contest.device)
    online, num_images = run_online(contest, logits_of, schedule=schedule, progress=progress)
    seconds = watch.seconds

    def on_cached_rows() -> Tensor:
        problem = contest.problem()
        return run_sgd(
            problem,
            problem.family.identity(),
            schedule=schedule,
            labels=inputs.labels,
            num_views=inputs.num_views,
            seed=contest.settings.seed,
            tolerance=contest.tolerance,
        ).point.theta

    sgd = timed(on_cached_rows, repeat=repeat, device=contest.device)
    lbfgs = timed(
        lambda: contest.fit("lbfgs", tolerance=contest.tolerance),
        repeat=repeat,
        device=contest.device,
    )
    logits, labels = inputs.rows()
    return OnlineBench(
        steps=schedule.iterations,
        schedule_steps=whole.iterations,
        images=num_images,
        seconds=seconds,
        sgd_seconds=sgd.seconds,
        lbfgs_seconds=lbfgs.seconds,
        agreement=compare_rectified(
            RectifiedRows(rectifier=_rectifier(contest, sgd.result), logits=logits),
            RectifiedRows(rectifier=_rectifier(contest, online), logits=logits),
            labels,
        ),
    )


def run_online(
    contest: Contest, logits_of: ViewLogits, *, schedule: Schedule, progress: Progress = silent
) -> tuple[Tensor, int]:
    """Algorithm 2: theta (P,) after the schedule's last step, and how many images it took.

    Args:
        contest: the objective; its cached rows are not looked at.
        logits_of: the frozen network.
        schedule: length, batches and rates.
        progress: told the steps.
    """
    inputs, settings = contest.inputs, contest.settings
    family = contest.family
    ridge = build_ridge(family, settings, inputs.log_prior)
    weights = class_weights(inputs.class_counts, settings.gamma)
    theta = torch.nn.Parameter(family.identity())
    # The ridge is part of the objective, so torch's own weight decay stays at 0.
    optimizer = torch.optim.SGD([theta], momentum=schedule.momentum)
    batches = draw_batches(
        schedule,
        labels=inputs.labels,
        num_views=inputs.num_views,
        seed=settings.seed,
    )
    num_images = 0
    for step, (views, samples) in enumerate(batches):
        objective = AutogradObjective(
            logits_of(views, samples),
            inputs.labels[samples],
            weights,
            family,
            ridge,
            reduction=settings.reduction,
        )
        value, theta.grad = objective.value_and_gradient(theta)
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate(step)
        optimizer.step()
        num_images += len(samples)
        progress(step + 1, schedule.iterations, f"loss {value:.4f}")
    return theta.detach(), num_images


def _rectifier(contest: Contest, theta: Tensor) -> Rectifier:
    scale, shift = contest.family.affine(theta)
    return Rectifier(scale=scale, shift=shift)
