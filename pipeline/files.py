"""Files that are complete or absent, and refused before any work is done for them."""

import glob
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marr_pipeline.errors import PipelineError

ABANDONED_SECONDS = 3600.0
"""Since its last byte: what a killed process left, as nobody writes one file so slowly."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty file of its own name to write to; it becomes `path` if the block succeeds.

    The bytes are on the disk before the name changes, so a crash leaves the old file or the new.
    Of writers at the same time each has a file of its own, and the last to end is kept whole. If
    `path` is a link, it goes on pointing where it does, and the file there is replaced. What a
    killed process leaves, `.NAME.XXXXXXXX.partial`, a later writer of `path` removes.

    Raises:
        PipelineError: the folder, the disk or the system refuses; an older `path` is untouched.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        _remove_abandoned(target)
        # Not by `tempfile`, whose files nobody but their owner may read.
        partial.open("xb").close()
        try:
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def _remove_abandoned(target: Path) -> None:
    for left in target.parent.glob(f".{glob.escape(target.name)}.????????.partial"):
        try:
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                left.unlink()
        except FileNotFoundError:  # its writer has ended, or another one removes it
            continue


def check_writable(path: Path) -> None:
    """Raise now rather than after hours of work.

    Raises:
        PipelineError: the folder is missing or not writable, or the name is a folder's.
    """
    if path.is_dir():
        raise PipelineError(f"{path}: a file name expected, got a folder; add a name")
    target = Path(os.path.realpath(path))
    probe = target.with_name(f".{target.name}.probe")
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
