"""SGD for a method: how long, at what rate, and which rows a step sees.

N samples in V views, K classes, n_j samples of class j, batches of s. A batch's samples are drawn
instance-balanced, each epoch once over the samples in a fresh order, or class-balanced (Kang et al.
2020, as the released code draws): an endless run goes through the classes in a random order that is
drawn anew each time round; each class drawn gives the next `IMAGES_PER_CLASS` samples of its own
random order, drawn anew each time round as well. A batch is the run's next s samples, so with fewer
than s / 4 classes a class comes up several times in one, and one of two images gives both of them
twice. Each time a sample is met, one of its cached views is drawn.

MARR's schedule is its paper's text, or with `official` what the released code really runs: that
counts epochs by its loader's length ceil(N / s) but leaves each epoch before its floor(N / s)-th
batch, so an epoch has floor(N / s) - 1 steps; it changes the rate once an epoch.

Classifier re-training (Kang et al. 2020; decoupled Balanced Softmax, Ren et al. 2020) runs
floor(N / s) steps an epoch and steps its scheduler at the start of an epoch: the rate of epoch
e = 0, 1, ..., E - 1 is  peak (1 + cos(pi (e + 1) / E)) / 2,  so the last epoch runs at rate 0. On
CIFAR the released configurations count epochs by an inflated loader and run a fraction of the
iterations that they name; here 2,000 are 2,000.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from marr_pipeline.optim.sgd import Schedule, run_sgd
from marr_pipeline.optim.solvable import Solution, Solvable
from marr_pipeline.protocols import SgdTerms, protocol_of
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.rows.resources import one_thread_an_operation
from marr_pipeline.rectify.settings import RectifySettings, Sampling

P = TypeVar("P", bound=Solvable)

IMAGES_PER_CLASS = 4


def minimize_or_follow(
    build: Callable[..., P],
    minimize: Callable[[P], Solution],
    start: Callable[[P], Tensor],
    *,
    inputs: FitInputs,
    settings: RectifySettings,
    context: FitContext,
) -> tuple[P, Solution]:
    """A family's problem, and its minimum or, for `sgd`, the last iterate of its schedule.

    Args:
        build: the problem over all rows, given `sampling`, `resources` and `progress`.
        minimize: the solver of the settings, where it is not `sgd`.
        start: theta (P,) float64 where `sgd` begins.
        inputs: the rows.
        settings: optimizer, preset, sampling and seed.
        context: dataset, progress and resources.
    """
    if settings.optimizer != "sgd":
        problem = build(resources=context.resources, progress=context.progress)
        return problem, minimize(problem)
    problem = build(sampling=settings.sampling, resources=context.resources)
    labels = inputs.labels
    schedule = sgd_schedule(settings, context.dataset, len(labels))
    batches = draw_batches(
        schedule,
        labels=labels,
        num_views=inputs.num_views,
        sampling=settings.sampling,
        seed=settings.seed,
    )
    with one_thread_an_operation():
        return problem, run_sgd(
            problem,  # what a batch has in expectation
            start(problem),
            (views * len(labels) + samples for views, samples in batches),
            schedule=schedule,
            batch_problem=build(),
            tolerance=settings.tolerance,
            progress=context.progress,
        )


def sgd_schedule(settings: RectifySettings, dataset: str | None, num_samples: int) -> Schedule:
    """The schedule of `sgd` for N samples of a dataset.

    It is the method's official one with the preset `official`, and with every preset for a whole
    head, of which MARR's paper says nothing; else MARR's.
    """
    protocol, is_official = protocol_of(dataset), settings.preset == "official"
    retraining = protocol.retraining.get(settings.method)
    is_head = settings.method in ("crt", "balanced-softmax-head")
    if retraining is not None and (is_head or is_official):
        return _schedule(retraining, num_samples, is_ragged=False, per_epoch=True)
    if is_official:
        return _released_schedule(protocol.marr["official"], num_samples)
    return _schedule(protocol.marr["paper"], num_samples, is_ragged=True, per_epoch=False)


def _schedule(terms: SgdTerms, num_samples: int, *, is_ragged: bool, per_epoch: bool) -> Schedule:
    """As it is stated; `is_ragged` if an epoch's last, smaller batch is run too."""
    batch_size = min(terms.batch_size, num_samples)
    steps = math.ceil(num_samples / batch_size) if is_ragged else num_samples // batch_size
    iterations = terms.iterations if terms.epochs is None else terms.epochs * steps
    return Schedule(
        iterations=iterations,
        steps_per_epoch=steps,
        batch_size=batch_size,
        epochs=math.ceil(iterations / steps),
        peak_rate=terms.peak_rate,
        per_epoch=per_epoch,
        epochs_ahead=terms.epochs_ahead,
    )


def _released_schedule(terms: SgdTerms, num_samples: int) -> Schedule:
    """Of MARR's released code; see the module's docstring."""
    batch_size = min(terms.batch_size, num_samples)
    batches = math.ceil(num_samples / batch_size)
    steps = max(num_samples // batch_size - 1, 1)
    epochs = math.ceil(terms.iterations / batches) if terms.epochs is None else terms.epochs
    return Schedule(
        iterations=epochs * steps,
        steps_per_epoch=steps,
        batch_size=batch_size,
        epochs=epochs,
        peak_rate=terms.peak_rate,
        warmup_epochs=math.ceil(terms.warmup_iterations / batches),
        per_epoch=True,
    )


def draw_batches(
    schedule: Schedule, *, labels: Tensor, num_views: int, sampling: Sampling, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Views (B,) and samples (B,) int64 of every step of the schedule."""
    generator = torch.Generator().manual_seed(seed)
    if sampling == "instance":
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


def instance_batches(
    num_samples: int, *, batch_size: int, steps_per_epoch: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Samples (B,) int64, at most, of one step after another, without end."""
    while True:
        order = torch.randperm(num_samples, generator=generator)
        for step in range(steps_per_epoch):
            yield order[step * batch_size : (step + 1) * batch_size]


def class_balanced_batches(
    labels: Tensor, *, batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Samples (B,) int64 of one step after another, without end; `labels` (N,) int64."""
    members = {
        label: _cycle((labels == label).nonzero()[:, 0].tolist(), generator)
        for label in torch.bincount(labels).nonzero()[:, 0].tolist()
    }
    ahead: list[int] = []
    for label in _cycle(list(members), generator):
        ahead += islice(members[label], IMAGES_PER_CLASS)
        while len(ahead) >= batch_size:
            yield torch.tensor(ahead[:batch_size])
            ahead = ahead[batch_size:]


def _cycle(items: list[int], generator: torch.Generator) -> Iterator[int]:
    """Items in a random order that is drawn anew each time round, without end."""
    while True:
        order = torch.randperm(len(items), generator=generator).tolist()
        yield from (items[index] for index in order)
