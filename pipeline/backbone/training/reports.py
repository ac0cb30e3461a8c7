"""What a training tells while it runs: on the terminal and in its metrics, once in a while.

Every step leaves two numbers on the device; a report fetches those of all steps since the last one
in a single transfer.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from marr_pipeline.backbone.training.clock import Clock
from marr_pipeline.backbone.training.metrics_log import MetricsLog
from marr_pipeline.backbone.training.recipe import Recipe
from marr_pipeline.distributed import Ranks
from marr_pipeline.errors import TrainingError
from marr_pipeline.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Means over the steps since the last report.

    Attributes:
        loss: of training.
        accuracy: fraction of the augmented training images that were classified right.
        skipped_steps: of this run so far.
    """

    loss: float
    accuracy: float
    skipped_steps: int


class Reports:
    """Collects what the steps give and tells it.

    Args:
        recipe: of the training.
        ranks: the processes that share every batch; rank 0 speaks.
        clock: of this run.
        num_skipped: steps left out for an overflow, a number on the device.
        metrics: the file; None in ranks other than 0.
        progress: told of every report in rank 0.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        ranks: Ranks,
        clock: Clock,
        num_skipped: Tensor,
        metrics: MetricsLog | None,
        progress: Progress,
    ) -> None:
        self._recipe = recipe
        self._ranks = ranks
        self._clock = clock
        self._num_skipped = num_skipped
        self._metrics = metrics
        self._progress = progress
        self._waiting: list[Tensor] = []
        self.num_images = 0
        """Of all steps so far, all processes together."""

    def add(self, reading: Tensor, *, num_images: int) -> None:
        """Take what a step gives, (2,) as `TrainingStep` makes it, and how many images it had."""
        self._waiting.append(reading)
        self.num_images += num_images

    def scored(self, done: int, *, score: float) -> None:
        """Tell the balanced accuracy on the tune split after `done` steps."""
        self._write(done, {"tune_balanced_accuracy": score})

    def report(self, done: int, *, kept: str) -> Reading:
        """Tell of the steps since the last report; waits for the device.

        Args:
            done: steps done.
            kept: what an error says of the last saved state.

        Raises:
            TrainingError: on rank 0, if a loss is not finite; the other ranks then lose it.
            LostRankError: another rank has ended.
            PipelineError: the metrics cannot be written.
        """
        steps = self._ranks.gather(torch.stack(self._waiting).double().cpu()).sum(0)
        self._waiting.clear()
        if self._ranks.is_first:
            _check_losses(steps[:, 0], done, kept)
        loss, accuracy = steps.mean(0).tolist()
        reading = Reading(loss=loss, accuracy=accuracy, skipped_steps=int(self._num_skipped))
        learning_rate = self._recipe.learning_rate(done - 1)
        rate = self.num_images / self._clock.seconds
        entry = {
            **asdict(reading),
            "learning_rate": learning_rate,
            "images_per_second": round(rate, 1),
        }
        if self._num_skipped.is_cuda:
            entry["memory_bytes"] = torch.cuda.max_memory_allocated(self._num_skipped.device)
        self._write(done, {**entry, "finished": done == self._recipe.iterations})
        if self._ranks.is_first:
            note = f"loss {loss:.3f}  lr {learning_rate:.4f}  {rate:.0f} img/s"
            self._progress(done, self._recipe.iterations, note)
        self._clock.reported()
        return reading

    def _write(self, done: int, entry: dict[str, object]) -> None:
        if self._metrics is not None:
            place = {"step": done, "epoch": round(done / self._recipe.steps_per_epoch, 4)}
            self._metrics.add({**place, **entry}, seconds=self._clock.seconds)


def _check_losses(losses: Tensor, done: int, kept: str) -> None:
    """Refuse losses (S,) of the S steps before `done` of which one is not finite."""
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        step = done - len(losses) + int(broken[0])
        raise TrainingError(
            f"training, step {step}: a finite loss expected, got {losses[broken[0]].item()}; "
            f"{kept}; try a smaller learning rate, another seed or --precision float32"
        )
