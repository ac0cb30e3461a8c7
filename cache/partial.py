"""A file that bears its name only when it is complete, and that one process writes at a time.

The bytes go to `<name>.partial` beside it. A lock, which the system drops when its owner dies,
tells a writer at work from the remains of a killed one.
"""

import errno
import glob
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from marr_pipeline.cache.errors import CacheWriteError, write_errors
from marr_pipeline.cache.schema import FORMAT

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_STAT_BLOCK = 512  # the unit of st_blocks on every system
_HEADER_BYTES = 2**16  # the root attributes stand in the first 400


class WriterLock:
    """The right of one process to write a file, held through `<file>.lock` beside it.

    A killed owner leaves that file and no lock; the next one takes it over.

    Args:
        path: the file.
        where: how errors name what is written.
        owner: how errors name who holds the lock.
    """

    def __init__(self, path: Path, *, where: str, owner: str = "the first") -> None:
        self._path = path
        self._where = where
        self._owner = owner
        self._file = path.with_name(f"{path.name}.lock")
        # A soft lock is a file that a killed owner leaves: it would keep every next writer out.
        self._lock: BaseFileLock = FileLock(self._file, thread_local=False, fallback_to_soft=False)

    @property
    def is_there(self) -> bool:
        """Whether an owner, alive or killed, has left its file."""
        return self._file.exists()

    def take(self) -> bool:
        """Take it now; False if the file system has no locks, as some network ones, or the system.

        Raises:
            CacheWriteError: another process holds it.
            OSError: the folder refuses.
        """
        os.scandir(self._file.parent).close()  # filelock would make a folder that is missing
        if isinstance(self._lock, SoftFileLock):
            return False
        while True:
            try:
                self._lock.acquire(blocking=False)
            except Timeout as error:
                if self._file.exists():
                    raise CacheWriteError(
                        f"{self._where}: one writer expected, got a second while {self._owner} "
                        f"holds {self._path.name}; wait for it or choose another name"
                    ) from error
                # Its owner has just removed it, or the folder takes no file and says so here.
                self._file.touch()
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                self._file.unlink(missing_ok=True)
                return False
            else:
                return True

    def drop(self) -> None:
        """Give it up; does nothing without it."""
        if self._lock.is_locked:
            # While it is held, so that it is never another writer's. Windows removes it itself.
            with suppress(PermissionError):
                self._file.unlink(missing_ok=True)
            self._lock.release()


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
        self.final = Path(os.path.realpath(path)) if path.is_symlink() else path
        self.partial = self.final.with_name(self.final.name + ".partial")
        self.overwrite = overwrite
        self.descriptor = -1
        self.is_new = False
        self._is_claimed = False
        self._lock = WriterLock(self.partial, where=str(self.final))

    @property
    def num_bytes_on_disk(self) -> int:
        """What the claimed file takes of the disk already; its holes take nothing."""
        return int(getattr(os.fstat(self.descriptor), "st_blocks", 0)) * _STAT_BLOCK

    def claim(self) -> None:
        """Take the lock; what a killed writer left under the partial name is kept as it is.

        Raises:
            CacheWriteError: the name is taken, another writer is at work, or the folder refuses.
        """
        with write_errors(self.final):
            self._check_final()
            is_taken_over = self._lock.is_there
            is_locked = self._lock.take()
            try:
                self._open(is_locked=is_locked, is_taken_over=is_taken_over)
            except BaseException:
                self._lock.drop()
                raise
        self._is_claimed = True

    def publish(self) -> None:
        """Put the bytes on the disk and give them the final name, in one step.

        Raises:
            CacheWriteError: the disk or the folder refuses; the partial file is still claimed.
        """
        with write_errors(self.final):
            os.fsync(self.descriptor)
            self._close()  # Windows renames no open file
            self.partial.replace(self.final)
            _sync_folder(self.final.parent)
        self.leave()

    def leave(self) -> None:
        """Drop the claim and keep the partial file; does nothing without a claim."""
        self._close()
        self._lock.drop()
        self._is_claimed = False

    def discard(self) -> None:
        """Remove the partial file and drop the claim; does nothing without one."""
        if self._is_claimed:
            self._close()
            # Removed before the lock is dropped, so that it is never another writer's file.
            self.partial.unlink(missing_ok=True)
            self.leave()

    def _check_final(self) -> None:
        """Refuse what is no file, even to overwrite, and without that all that is there."""
        is_free = not self.final.exists() or (self.final.is_file() and self.overwrite)
        if is_free and not self.final.is_symlink():
            return
        kind = (
            "an existing file" if self.final.is_file() else "a device, a pipe or a link to itself"
        )
        kind = "a folder" if self.final.is_dir() else kind
        raise CacheWriteError(
            f"{self.final}: a free name expected, got {kind}; choose another name or --overwrite"
        )

    def _open(self, *, is_locked: bool, is_taken_over: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            self.descriptor, self.is_new = os.open(self.partial, flags | os.O_EXCL, 0o666), True
        except FileExistsError:
            if not is_locked:
                raise CacheWriteError(
                    f"{self.final}: no {self.partial.name} expected, as this file system has no "
                    "locks, got one; if no other writer is at work, delete it and start again"
                ) from None
            self._check_left_over(is_taken_over=is_taken_over)
            self.descriptor, self.is_new = os.open(self.partial, flags, 0o666), False

    def _check_left_over(self, *, is_taken_over: bool) -> None:
        """Refuse a file of the partial name that no writer has left: it is the user's.

        A killed one leaves its lock, any other a journal or at least the format's name.
        """
        journals = self.final.parent.glob(f"{glob.escape(self.final.name)}.journal*")
        status = self.partial.lstat()
        is_alone = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if is_alone and not (is_taken_over or any(journals)):
            with self.partial.open("rb") as file:
                is_alone = FORMAT.encode() in file.read(_HEADER_BYTES)
        if not is_alone:
            raise CacheWriteError(
                f"{self.final}: {self.partial.name} free or left by an unfinished cache expected, "
                "got another file or a link; move it away or choose another name"
            )

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk as well, where the file system can."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folder, and names need no call
        return
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
