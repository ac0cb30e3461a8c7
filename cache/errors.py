"""What reading and writing a cache can raise.

Wording everywhere: `<where>: <expected>, got <actual>; <what to do>`.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


class CacheError(Exception):
    """A cache, or arrays meant for one, that exist but are invalid or lack what is asked for."""


class StaleCacheError(CacheError):
    """The cache was made from something else than what is asked for now; it names what differs."""


class CacheWriteError(CacheError):
    """The file cannot be written: folder missing or read-only, disk full, or a second writer."""


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
