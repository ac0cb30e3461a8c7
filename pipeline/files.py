"""Files that are complete or absent, and refused before any work is done for them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marr_pipeline.errors import PipelineError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a sibling to write to; it takes the name `path` only if the block succeeds.

    The bytes are on the disk before the name changes, so a crash leaves the old file or the new.

    Raises:
        PipelineError: the folder, the disk or the system refuses; an older `path` is untouched.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise now rather than after hours of work.

    Raises:
        PipelineError: the folder is missing or not writable, or the name is a folder's.
    """
    if path.is_dir():
        raise PipelineError(f"{path}: a file name expected, got a folder; add a name")
    probe = path.with_name(f".{path.name}.probe")
    try:
        probe.touch()
        probe.unlink(missing_ok=True)  # other processes of the run probe it too
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> PipelineError:
    """The one wording for an output that cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return PipelineError(
        f"{path}: a file in a writable folder with space left expected, got: {reason}; "
        "create the folder, make room or choose another -o"
    )
