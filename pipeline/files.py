"""Files that are complete or absent, and refused before any work is done for them."""

import errno
import glob
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from marr_pipeline.errors import PipelineError

FileName = str | os.PathLike[str]
"""What Python callers may give where a file is asked for."""


def listed(given: object) -> list[Any]:
    """Several paths as they are; one, or another single thing, as a list of it alone."""
    is_single = isinstance(given, str | os.PathLike) or not isinstance(given, Iterable)
    return [given] if is_single else list(cast("Iterable[Any]", given))


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty file of its own name to write to; it becomes `path` if the block succeeds.

    The bytes are on the disk before the name changes, so a crash leaves the old file or the new.
    Of writers at the same time each has a file of its own, and the last to end is kept whole. If
    `path` is a link, it goes on pointing where it does, and the file there is replaced. What a
    killed process leaves, `.NAME.XXXXXXXX.partial` and its `.lock`, a later writer of `path`
    removes; never the file of a writer that lives, however long it takes.

    Raises:
        PipelineError: the folder, the disk or the system refuses, or `path` is no plain file; an
            older one is untouched.
    """
    _check_replaceable(path)
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with held_lock(partial, waits=True):  # from before it exists until after it is gone
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


@contextmanager
def held_lock(path: Path, *, waits: bool) -> Iterator[bool | None]:
    """Hold the lock of `path` within the block; the system drops it when its owner dies.

    The lock is that of `NAME.lock` beside `path`, which is gone afterwards; whoever else gets it
    knows that the writer of `path` is done or dead.

    Args:
        path: of a file that one process writes at a time; it need not exist.
        waits: until another owner drops the lock.

    Yields:
        Whether this process has the lock: False if another has it, None where there are no
        locks, as on some network file systems and systems.

    Raises:
        OSError: the folder or the system refuses.
    """
    from filelock import (  # 40 ms, which `--help` need not wait for
        BaseFileLock,
        FileLock,
        SoftFileLock,
        Timeout,
    )

    os.scandir(path.parent).close()  # filelock would make a folder that is missing
    file = path.with_name(f"{path.name}.lock")
    # A soft lock is a file that a killed owner leaves: it would stand for a writer that lives.
    lock: BaseFileLock = FileLock(file, thread_local=False, fallback_to_soft=False)
    if isinstance(lock, SoftFileLock):  # all there is where the system has no locks
        yield None
        return
    try:
        lock.acquire(blocking=waits)
    except Timeout:
        yield False
        return
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        file.unlink(missing_ok=True)
        yield None
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # the next writer removes it; Windows does when it is dropped
            file.unlink(missing_ok=True)
        lock.release()


def _remove_abandoned(target: Path) -> None:
    for lock in target.parent.glob(f".{glob.escape(target.name)}.????????.partial.lock"):
        partial = lock.with_suffix("")
        with held_lock(partial, waits=False) as is_dead:
            if is_dead:
                partial.unlink(missing_ok=True)


def check_writable(path: Path, *, touches: bool = True) -> None:
    """Raise now rather than after hours of work.

    Args:
        path: of the output.
        touches: write an empty file to find out; else only permissions are asked.

    Raises:
        PipelineError: the folder is missing or not writable, or the name is that of a folder or
            a device.
    """
    _check_replaceable(path)
    target = Path(os.path.realpath(path))
    probe = target.with_name(f".{target.name}.probe")
    try:
        if touches:
            probe.touch()
            probe.unlink(missing_ok=True)  # other processes of the run probe it too
            return
        os.scandir(target.parent).close()
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unwritable(path, error) from error


def _check_replaceable(path: Path) -> None:
    """Refuse a folder, and what a file must not take the place of, such as /dev/null."""
    if path.is_dir():
        raise PipelineError(f"{path}: a file name expected, got a folder; add a name")
    if path.exists() and not path.is_file():
        raise PipelineError(f"{path}: a file expected, got a device or a pipe; choose another name")


def unwritable(path: Path, error: Exception) -> PipelineError:
    """The one wording for an output that cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return PipelineError(
        f"{path}: a file in a writable folder with space left expected, got: {reason}; "
        "create the folder, make room or choose another output"
    )
