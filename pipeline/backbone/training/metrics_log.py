"""`FILE.metrics.jsonl`: how a training went, one JSON object a line, beside its checkpoint FILE.

    step                    steps done
    epoch                   passes over the images done, with a fraction
    loss, accuracy          mean over the steps since the line before, on their augmented images
    skipped_steps           of this run so far, whose gradients overflowed; 0 but in float16
    learning_rate           of the last of these steps
    images_per_second       of this run so far
    memory_bytes            most that was allocated on the GPU; only there
    finished                whether this was the last step
    seconds                 of training until here, earlier runs included

A line comes about once a second. With `--select-on tune` the end of every epoch has a line of its
own with step, epoch, seconds and `tune_balanced_accuracy`.

Lines are only ever appended, each in one write. A run that goes on from step s first cuts the file
after the lines up to s; so a line torn by a crash and the steps of a lost stretch are gone, and no
step is told twice. The file is locked while a training writes it, and with it the checkpoint.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from marr_pipeline.errors import PipelineError
from marr_pipeline.files import unwritable

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


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
    try:
        _lock(descriptor, checkpoint)
        yield MetricsLog(path, descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, checkpoint: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PipelineError(
            f"{checkpoint}: one process to train it expected, got a second; wait for the first or "
            "choose another -o"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:  # some network file systems have none
            raise unwritable(checkpoint, error) from error


def _parsed(line: bytes) -> dict[str, float] | None:
    """The entry of a line; None for one that is torn or none of ours."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    is_whole = line.endswith(b"\n") and isinstance(entry, dict)
    return entry if is_whole and isinstance(entry.get("step"), int) else None
