"""A file that bears its name only when it is complete, and that one process writes at a time.

The bytes go to `<name>.partial` beside it. A lock on that file, which the system drops when its
owner dies, tells a writer at work from the remains of a killed one.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from marr_pipeline.cache.errors import CacheWriteError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_STAT_BLOCK = 512  # the unit of st_blocks on every system
_ADVICE = {
    errno.ENOSPC: "free space there or write to another disk",
    errno.EDQUOT: "free space there or write to another disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) or write to another disk",
    errno.ENOENT: "make the folder first",
    errno.ENOTDIR: "make the folder first",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
}


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn what the system says about a failed write into one line.

    Raises:
        CacheWriteError: the block raised OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0, "check the disk and the folder's permissions")
        raise CacheWriteError(
            f"{path}: a file that can be written expected, got {reason!r}; {advice}"
        ) from error


class PartialFile:
    """The right to write `path`, from `claim` to `publish`, `leave` or `discard`.

    Args:
        path: the final name; if it is a link, the file it points to.
        overwrite: whether a file of that name may be replaced.

    Attributes:
        final: the final name.
        partial: the name until then.
        descriptor: open for reading and writing while claimed.
        is_new: whether there was none of the partial name when it was claimed.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.final = path.resolve() if path.is_symlink() else path
        self.partial = self.final.with_name(self.final.name + ".partial")
        self.overwrite = overwrite
        self.descriptor = -1
        self.is_new = False

    @property
    def num_bytes_on_disk(self) -> int:
        """What the claimed file takes of the disk already; its holes take nothing."""
        return os.fstat(self.descriptor).st_blocks * _STAT_BLOCK

    def claim(self) -> None:
        """Take the lock; what a killed writer left under the partial name is kept as it is.

        Raises:
            CacheWriteError: the name is taken, another writer is at work, or the folder refuses.
        """
        with write_errors(self.final):
            if self.final.is_dir() or (self.final.exists() and not self.overwrite):
                kind = "a folder" if self.final.is_dir() else "an existing file"
                raise CacheWriteError(
                    f"{self.final}: a free name expected, got {kind}; "
                    "choose another name or --overwrite"
                )
            while not self._try_claim():
                pass

    def publish(self) -> None:
        """Put the bytes on the disk and give them the final name, in one step.

        Raises:
            CacheWriteError: the disk or the folder refuses; the partial file is still claimed.
        """
        with write_errors(self.final):
            os.fsync(self.descriptor)
            self.partial.replace(self.final)
            _sync_folder(self.final.parent)
        self._close()

    def leave(self) -> None:
        """Drop the claim and keep the partial file; does nothing without a claim."""
        if self.descriptor >= 0:
            self._close()

    def discard(self) -> None:
        """Remove the partial file and drop the claim; does nothing without one."""
        if self.descriptor >= 0:
            # Removed before the lock is dropped, so that it is never another writer's file.
            self.partial.unlink(missing_ok=True)
            self._close()

    def _try_claim(self) -> bool:
        """One attempt; False if the previous owner renamed or removed the file meanwhile."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor, is_new = os.open(self.partial, flags | os.O_EXCL, 0o666), True
        except FileExistsError:
            descriptor, is_new = os.open(self.partial, flags, 0o666), False
        try:
            self._lock(descriptor, is_new=is_new)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), self.partial.stat()):
                    self.descriptor, descriptor = descriptor, -1
                    self.is_new = is_new
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return self.descriptor >= 0

    def _lock(self, descriptor: int, *, is_new: bool) -> None:
        found = try_lock(descriptor)
        if found == "taken":
            raise CacheWriteError(
                f"{self.final}: one writer expected, got a second while the first holds "
                f"{self.partial.name}; wait for it or choose another name"
            )
        if found == "no locks" and not is_new:
            raise CacheWriteError(
                f"{self.final}: no {self.partial.name} expected, as this file system has no "
                "locks, got one; if no other writer is at work, delete it and start again"
            )

    def _close(self) -> None:
        os.close(self.descriptor)
        self.descriptor = -1


def try_lock(descriptor: int) -> Literal["locked", "taken", "no locks"]:
    """Lock an open file for its process; some network file systems have no locks.

    Raises:
        OSError: the system refuses for another reason.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return "no locks"
    return "locked"


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk as well, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems know no such call; their names are durable by themselves.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def check_space(path: Path, num_bytes: int) -> None:
    """Refuse at once what would fill the disk hours later.

    Args:
        path: a name on that disk.
        num_bytes: what is still to be written.

    Raises:
        CacheWriteError: fewer bytes are free; a file system that reports none is not believed.
    """
    with write_errors(path):
        free = shutil.disk_usage(path.resolve().parent).free
    if 0 < free < num_bytes:
        raise CacheWriteError(
            f"{path}: {num_bytes / 1e6:,.1f} MB free expected, got {free / 1e6:,.1f}; "
            "free space there, write to another disk, or store less"
        )
