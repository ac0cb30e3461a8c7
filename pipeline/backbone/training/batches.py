"""Which images each step takes, and how a step's batch is split.

B images of a step, M micro-batches, P processes. Micro-batch j is images B j // M to
B (j + 1) // M - 1 of the batch, and process r takes the r-th of P such parts of it. So a step has
the same images for any M and P, and a micro-batch for any P. A method with several streams has B
images of each in a step, divided alike; a micro-batch is its part of the first, then of the next.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np
import torch
from torch import Tensor

from marr_pipeline.backbone.training.plan import Recipe
from marr_pipeline.data.views import Batch, RandomView, ViewPass
from marr_pipeline.distributed import Ranks
from marr_pipeline.errors import PipelineError
from marr_pipeline.losses.samplers import draw_rows

ORDER_STREAM = 3  # last word of the seed
PLAIN = ("instance",)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """N draws of each of S streams, in batches.

    Attributes:
        rows: (S, N) int64, of the training split.
        bounds: batch b has the draws bounds[b] to bounds[b + 1] - 1 of every stream.
        view: of all.
        places: (S, N) int64, see `ViewPass`; None where every row comes but once.
    """

    rows: Tensor
    bounds: tuple[int, ...]
    view: RandomView
    places: Tensor | None


def plan_epochs(
    recipe: Recipe,
    *,
    labels: Tensor,
    seed: int,
    first_step: int = 0,
    streams: Sequence[str] = PLAIN,
) -> Iterator[Epoch]:
    """The epochs of a run, each N draws of every stream, in a view of its own.

    Args:
        recipe: how many steps there are, in all and an epoch.
        labels: (N,) of the training images.
        seed: at least 0; with the number of the epoch it decides the draws and the views.
        first_step: of a resumed run; its first epoch, as the last one, has only the steps left.
        streams: see `TrainingMethod`.
    """
    per_epoch, num_samples = recipe.steps_per_epoch, len(labels)
    for number in range(first_step // per_epoch, -(-recipe.iterations // per_epoch)):
        begin = max(first_step - number * per_epoch, 0)
        end = min(recipe.iterations - number * per_epoch, per_epoch)
        generator = np.random.default_rng([seed, number, ORDER_STREAM])
        rows: list[Tensor] = []
        for stream in streams:
            if stream == "same":
                rows.append(rows[-1])
                continue
            drawn = draw_rows(stream, labels.numpy(), num_draws=num_samples, generator=generator)
            rows.append(torch.from_numpy(drawn))
        places = torch.arange(len(streams) * num_samples).reshape(len(streams), num_samples)
        yield Epoch(
            rows=torch.stack(rows),
            bounds=tuple(_bound(batch, num_samples, recipe) for batch in range(begin, end + 1)),
            view=RandomView(purpose="training", seed=seed, number=number),
            places=None if tuple(streams) == PLAIN else places,
        )


def images_seen(
    recipe: Recipe,
    *,
    labels: Tensor,
    seed: int,
    step: int,
    streams: Sequence[str],
    micro_batches: int,
    ranks: Ranks,
) -> Tensor:
    """(K,) int64, of each class the images that a process has trained on before `step`."""
    num_classes = int(labels.max()) + 1
    seen = torch.zeros(num_classes, dtype=torch.int64)
    if step > 0:
        until = replace(recipe, iterations=step)
        epochs = plan_epochs(until, labels=labels, seed=seed, streams=streams)
        for each in share_epochs(epochs, micro_batches=micro_batches, ranks=ranks):
            seen += torch.bincount(labels[each.rows[: each.bounds[-1]]], minlength=num_classes)
    return seen


def batch_size_of(recipe: Recipe, step: int, *, num_samples: int) -> int:
    """B of a step."""
    batch = step % recipe.steps_per_epoch
    return _bound(batch + 1, num_samples, recipe) - _bound(batch, num_samples, recipe)


def _bound(batch: int, num_samples: int, recipe: Recipe) -> int:
    """Where batch `batch` of an epoch begins in its permutation."""
    if recipe.drops_remainder:
        return batch * recipe.batch_size
    return batch * num_samples // recipe.steps_per_epoch


def share_epochs(
    epochs: Iterable[Epoch], *, micro_batches: int, ranks: Ranks
) -> Iterator[ViewPass]:
    """A process's share of `epochs`, whose batches are its micro-batches, M of them a step."""
    for each in epochs:
        parts = [
            slice(*_part(*_part(start, stop, number, micro_batches), ranks.rank, ranks.size))
            for start, stop in pairwise(each.bounds)
            for number in range(micro_batches)
        ]
        sizes = [len(each.rows) * (part.stop - part.start) for part in parts]
        yield ViewPass(
            rows=torch.cat([each.rows[:, part].flatten() for part in parts]),
            bounds=tuple(np.cumsum([0, *sizes]).tolist()),
            view=each.view,
            places=None
            if each.places is None
            else torch.cat([each.places[:, part].flatten() for part in parts]),
        )


def _part(start: int, stop: int, number: int, parts: int) -> tuple[int, int]:
    """Bounds of the part of that number of start..stop-1; parts differ by one at most."""
    length = stop - start
    return start + length * number // parts, start + length * (number + 1) // parts


class StepBatches:
    """The micro-batches of the step to come, always fetched before the step at hand ends.

    What goes wrong on the way, such as an image that cannot be read, is kept until every process
    can stop for it, between two steps.

    Args:
        micro_batches: of all steps.
        each: M, how many a step has.
    """

    def __init__(self, micro_batches: Iterator[Batch], *, each: int) -> None:
        self._micro_batches = micro_batches
        self._each = each
        self._waiting: list[Batch] = []
        self.error: PipelineError | None = None
        self.fetch()

    def fetch(self) -> None:
        """Make the next step's ready; none after the last step."""
        try:
            self._waiting = list(islice(self._micro_batches, self._each))
        except PipelineError as error:
            self.error = error

    def take(self) -> list[Batch]:
        """Those that are ready.

        Raises:
            PipelineError: the first ones could not be fetched.
        """
        if self.error is not None:
            raise self.error
        return self._waiting
