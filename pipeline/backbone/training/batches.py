"""Which images each step takes, and how a step's batch is split.

B images of a step, M micro-batches, P processes. Micro-batch j is images B j // M to
B (j + 1) // M - 1 of the batch, and process r takes the r-th of P such parts of it. So a step has
the same images for any M and P, and a micro-batch for any P.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise

import numpy as np
import torch

from marr_pipeline.backbone.training.plan import Recipe
from marr_pipeline.data.views import Batch, RandomView, ViewPass
from marr_pipeline.distributed import Ranks
from marr_pipeline.errors import PipelineError

ORDER_STREAM = 3  # last word of the seed


def plan_passes(
    recipe: Recipe, *, num_samples: int, seed: int, first_step: int = 0
) -> Iterator[ViewPass]:
    """The epochs of a run, each one permutation of the images and one view of each.

    Args:
        recipe: how many steps there are, in all and an epoch.
        num_samples: N, training images.
        seed: at least 0; with the number of the epoch it decides the permutation and the views.
        first_step: of a resumed run; its first epoch, as the last one, has only the steps left.
    """
    per_epoch = recipe.steps_per_epoch
    for number in range(first_step // per_epoch, -(-recipe.iterations // per_epoch)):
        begin = max(first_step - number * per_epoch, 0)
        end = min(recipe.iterations - number * per_epoch, per_epoch)
        order = np.random.default_rng([seed, number, ORDER_STREAM]).permutation(num_samples)
        yield ViewPass(
            rows=torch.from_numpy(order),
            bounds=tuple(_bound(batch, num_samples, recipe) for batch in range(begin, end + 1)),
            view=RandomView(purpose="training", seed=seed, number=number),
        )


def batch_size_of(recipe: Recipe, step: int, *, num_samples: int) -> int:
    """B of a step."""
    batch = step % recipe.steps_per_epoch
    return _bound(batch + 1, num_samples, recipe) - _bound(batch, num_samples, recipe)


def _bound(batch: int, num_samples: int, recipe: Recipe) -> int:
    """Where batch `batch` of an epoch begins in its permutation."""
    if recipe.drops_remainder:
        return batch * recipe.batch_size
    return batch * num_samples // recipe.steps_per_epoch


def share_passes(
    passes: Iterable[ViewPass], *, micro_batches: int, ranks: Ranks
) -> Iterator[ViewPass]:
    """A process's share of `passes`, whose batches are its micro-batches, M of them a step."""
    for each in passes:
        parts = [
            _part(*_part(start, stop, number, micro_batches), ranks.rank, ranks.size)
            for start, stop in pairwise(each.bounds)
            for number in range(micro_batches)
        ]
        bounds = np.cumsum([0, *(stop - start for start, stop in parts)])
        yield ViewPass(
            rows=torch.cat([each.rows[start:stop] for start, stop in parts]),
            bounds=tuple(bounds.tolist()),
            view=each.view,
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
