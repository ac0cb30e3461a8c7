"""What a training tells while it runs, on the terminal and in its metrics, and when.

Every step leaves two numbers on the device; a report fetches those of all steps since the last one
in a single transfer, about once a second.

`FILE.metrics.jsonl` beside the checkpoint FILE says how the training went, one JSON object a line:

    step                    steps done
    epoch                   passes over the images done, with a fraction
    loss, accuracy          mean over the steps since the line before, on their augmented images
    skipped_steps           of this run so far, whose gradients overflowed; 0 but in float16
    learning_rate           of the last of these steps
    images_per_second       of this run so far
    memory_bytes            most that was allocated on the GPU; only there
    finished                whether this was the last step
    seconds                 of training until here, earlier runs included

With `--select-on tune` the end of every epoch has a line of its own with step, epoch, seconds and
`tune_balanced_accuracy`.

Lines are only ever appended, each in one write. A run that goes on from step s first cuts the file
after the lines up to s; so a line torn by a crash and the steps of a lost stretch are gone, and no
step is told twice. The file is locked while a training writes it, and with it the checkpoint.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from marr_pipeline.backbone.training.plan import Recipe
from marr_pipeline.distributed import Ranks
from marr_pipeline.errors import PipelineError, TrainingError
from marr_pipeline.files import held_lock, unwritable
from marr_pipeline.progress import Progress

REPORT_SECONDS = 1.0


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


@dataclass(kw_only=True, eq=False)
class Reports:
    """Collects what the steps give and tells it; rank 0's clock decides when, for all.

    Attributes:
        recipe: of the training.
        ranks: the processes that share every batch; rank 0 speaks.
        num_skipped: steps left out for an overflow, a number on the device.
        metrics: the file; None in ranks other than 0.
        progress: told of every report in rank 0.
        save_seconds: least time between two saved states.
        num_images: of all steps so far, all processes together.
    """

    recipe: Recipe
    ranks: Ranks
    num_skipped: Tensor
    metrics: "MetricsLog | None"
    progress: Progress
    save_seconds: float
    num_images: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._waiting: list[Tensor] = []
        self._begin = self._reported = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._begin

    def is_due(self) -> bool:
        """Whether it is time to report or to save."""
        is_late = self.ranks.is_first and time.monotonic() >= self._reported + REPORT_SECONDS
        return is_late or self.save_is_due()

    def save_is_due(self) -> bool:
        """Whether it is time to save."""
        return self.ranks.is_first and time.monotonic() >= self._saved + self.save_seconds

    def saved(self) -> None:
        """To be called after saving."""
        self._saved = time.monotonic()

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
        steps = self.ranks.gather(torch.stack(self._waiting).double().cpu()).sum(0)
        self._waiting.clear()
        if self.ranks.is_first:
            _check_losses(steps[:, 0], done, kept)
        loss, accuracy = steps.mean(0).tolist()
        reading = Reading(loss=loss, accuracy=accuracy, skipped_steps=int(self.num_skipped))
        learning_rate = self.recipe.learning_rate(done - 1)
        rate = self.num_images / self.seconds
        entry = {
            **asdict(reading),
            "learning_rate": learning_rate,
            "images_per_second": round(rate, 1),
        }
        if self.num_skipped.is_cuda:
            entry["memory_bytes"] = torch.cuda.max_memory_allocated(self.num_skipped.device)
        self._write(done, {**entry, "finished": done == self.recipe.iterations})
        if self.ranks.is_first:
            note = f"loss {loss:.3f}  lr {learning_rate:.4f}  {rate:.0f} img/s"
            self.progress(done, self.recipe.iterations, note)
        self._reported = time.monotonic()
        return reading

    def _write(self, done: int, entry: dict[str, object]) -> None:
        if self.metrics is not None:
            place = {"step": done, "epoch": round(done / self.recipe.steps_per_epoch, 4)}
            self.metrics.add({**place, **entry}, seconds=self.seconds)


def _check_losses(losses: Tensor, done: int, kept: str) -> None:
    """Refuse losses (S,) of the S steps before `done` of which one is not finite."""
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        step = done - len(losses) + int(broken[0])
        raise TrainingError(
            f"training, step {step}: a finite loss expected, got {losses[broken[0]].item()}; "
            f"{kept}; try a smaller learning rate, another seed or --precision float32"
        )


def metrics_path(checkpoint: Path) -> Path:
    """The metrics of the training that `checkpoint` is of."""
    return checkpoint.with_name(checkpoint.name + ".metrics.jsonl")


class MetricsLog:
    """An open metrics file of one writer."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._seconds_before = 0.0

    def go_on_from(self, step: int) -> None:
        """Keep the lines up to `step` and drop the others.

        Raises:
            PipelineError: the file cannot be written.
        """
        end = 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            entry = _parsed(line)
            if entry is None or not 0 < entry["step"] <= step:
                break
            end += len(line)
            self._seconds_before = max(self._seconds_before, entry.get("seconds", 0.0))
        try:
            os.ftruncate(self._descriptor, end)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def add(self, entry: Mapping[str, object], *, seconds: float) -> None:
        """Append a line; `seconds` are those of this run.

        Raises:
            PipelineError: the file cannot be written.
        """
        whole = {**entry, "seconds": round(self._seconds_before + seconds, 3)}
        line = (json.dumps(whole, allow_nan=False) + "\n").encode()
        try:
            while line:  # a disk that fills up takes what it can, and refuses the rest
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            raise unwritable(self.path, error) from error


@contextmanager
def open_metrics(checkpoint: Path) -> Iterator[MetricsLog]:
    """The metrics file of a checkpoint, made if it is not there, locked until the block ends.

    Raises:
        PipelineError: the file cannot be written, or another process trains into `checkpoint`.
    """
    path = metrics_path(checkpoint)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise unwritable(path, error) from error
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        try:
            has_lock = stack.enter_context(held_lock(path))
        except OSError as error:
            raise unwritable(checkpoint, error) from error
        if has_lock is False:
            raise PipelineError(
                f"{checkpoint}: one process to train it expected, got a second; wait for the first "
                "or choose another -o"
            )
        yield MetricsLog(path, descriptor)


def _parsed(line: bytes) -> dict[str, float] | None:
    """The entry of a line; None for one that is torn or none of ours."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_ours = line.endswith(b"\n") and isinstance(entry, dict)
    is_ours = is_ours and isinstance(entry.get("step"), int)
    return entry if is_ours and isinstance(entry.get("seconds", 0.0), int | float) else None
