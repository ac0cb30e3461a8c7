"""Files that are complete or absent, that replace their own kind alone, and that are refused early.

One rule for every output: an existing file is replaced if it is empty, if it is the command's own
`Product`, known by its content, or if the user says so. Devices, pipes and folders never are. Links
are followed. Inputs are the command line's matter, see `check_outputs` there.
"""

import errno
import glob
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from marr_pipeline.errors import PipelineError
from marr_pipeline.names import TABLE_COLUMNS

FileName = str | os.PathLike[str]
"""What Python callers may give where a file is asked for."""


def listed(given: object) -> list[Any]:
    """Several paths as they are; one, or another single thing, as a list of it alone."""
    is_single = isinstance(given, str | os.PathLike) or not isinstance(given, Iterable)
    return [given] if is_single else list(cast("Iterable[Any]", given))


@dataclass(frozen=True)
class Product:
    """A kind of file that a command writes.

    Attributes:
        name: with its article, for errors.
        pattern: regular expression of how such a file begins, its first and last `SEEN_BYTES` taken
            together; those of older versions of this program have it too.
    """

    name: str
    pattern: bytes

    def matches(self, path: Path) -> bool:
        """Whether a file is one; False if it cannot be read."""
        try:
            with path.open("rb") as file:
                seen = file.read(SEEN_BYTES)
                file.seek(max(SEEN_BYTES, os.fstat(file.fileno()).st_size - SEEN_BYTES))
                seen += file.read(SEEN_BYTES)
        except OSError:
            return False
        return re.match(self.pattern, seen, re.DOTALL) is not None


SEEN_BYTES = 4 * 2**20
"""At both ends: more than the names of 8,142 classes, read and searched in 20 ms."""
_KEYS = "|".join(TABLE_COLUMNS).encode()
_HEADINGS = (
    rb"(?:overall|balanced|many|medium|few|macro-F1|harmonic|worst|NLL|ECE"
    rb"|vs |rho |params|fit|status)"
)
_SAFETENSORS = rb".{6}\0\0\{"
RECTIFIER = Product("a rectifier", _SAFETENSORS + rb'.*?"format":"marr-rectifier"')
_RECTIFIED = rb"X\x09\0\0\0rectified"
"""A key, as pickle writes it."""
CHECKPOINT = Product(
    "a checkpoint of a training", rb"PK(?!.*" + _RECTIFIED + rb").*?marr-checkpoint"
)
CACHE = Product("a cache", rb"\x89HDF\r\n.*?marr-cache")
METRICS_LOG = Product("the metrics of a training", rb'\{"step": ')
EXPORT_MARK = b"rectified by marr-pipeline"
"""The comment of the archive in which a checkpoint of another program's format is exported."""
MODEL = Product(
    "an exported checkpoint or head",
    _SAFETENSORS + rb'.*?"marr":"|PK.*(?:' + _RECTIFIED + rb"|" + EXPORT_MARK + rb"\Z)",
)
GRAPH = Product(
    "an exported graph", rb'PK.*marr\.json|.*"gives": "logits, whose softmax is the probabilities"'
)
ROWS = Product(
    "rectified rows",
    rb"PK(?=.*logits\.npy)(?=.*probabilities\.npy).*predictions\.npy"
    rb'|(?:id,)?(?:label,)?prediction,(?:set,set_size,)?"?logit_'
    rb"|PAR1(?=.*prediction)(?=.*logit_).*probability_",
)
METRICS = Product(
    "a table of evaluate",
    rb"name,(?:overall,balanced,many,medium,few,macro_f1,worst_class|train,samples,group),",
)
SWEEP = Product("a table of sweep", rb"name,method,preset,")
COMPARISON = Product(
    "a table of compare",
    rb"(?!" + METRICS.pattern + rb")name,(?:" + _KEYS + rb")"
    rb"|(?:\|  \|| {4,}|\\begin\{table\}\n\\centering\n.*\\toprule\n &) *" + _HEADINGS,
)
REPORT = Product("a report", rb"(?i:<!doctype html>).*?<title>Rectified: ")
REPRODUCTION = Product(
    "a record of reproduce",
    rb'\{\n "(?:command": "reproduce|creator": "marr-pipeline)|(?:table|figure)\d\w*: '
    rb"|name,(?:(?:\w+,){1,3}paper_|formula|paper)",
)
FIGURE = Product("a figure", rb"(?:\x89PNG|%PDF|<\?xml).*?marr-pipeline")
NUMBERS = Product(
    "the numbers of a figure",
    rb"(?:class_id,class_name,class_count,|series,(?:true_class|gamma|part),|exponent,ratio,"
    rb"|kind,method,class_id,|metric,method,reference,|row,column,mean,deviation)",
)
_UNMARKED_FIGURE = Product("", rb"(?:\x89PNG|%PDF|<\?xml).*?Matplotlib")
"""Of an older version, which is told from others' by the numbers beside it."""


def _is_own(path: Path, product: Product) -> bool:
    return product.matches(path) or (
        product is FIGURE
        and _UNMARKED_FIGURE.matches(path)
        and NUMBERS.matches(path.with_suffix(".csv"))
    )


def check_replaceable(path: Path, product: Product, *, overwrite: bool = False) -> None:
    """Refuse an output that would take the place of something else than its own kind.

    Args:
        path: of the output.
        product: what it is.
        overwrite: any file may be replaced; a folder, a device or a pipe never.

    Raises:
        PipelineError: something else is there.
    """
    if path.is_dir():
        raise PipelineError(f"{path}: a file name expected, got a folder; add a name")
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise PipelineError(f"{path}: a file expected, got a link to itself; choose another name")
    if not path.exists():
        return
    if not path.is_file():
        raise PipelineError(f"{path}: a file expected, got a device or a pipe; choose another name")
    if not overwrite and path.stat().st_size > 0 and not _is_own(path, product):
        raise PipelineError(
            f"{path}: a free name or {product.name} of this program expected, got another file; "
            "choose another name, or give --overwrite to lose that file"
        )


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def replacing(path: Path, product: Product, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty file of its own name to write to; it becomes `path` if the block succeeds.

    The bytes and the name are on the disk afterwards, so a crash leaves the old file or the new.
    If `path` is a link, it goes on pointing where it does, and the file there is replaced. A lock,
    `.NAME.lock`, is held meanwhile; a killed process leaves it and `.NAME.XXXXXXXX.partial`, which
    the next writer of `path` removes.

    Args:
        path: of the output.
        product: what it is, which alone is replaced.
        overwrite: replace any file.

    Raises:
        PipelineError: the folder, the disk or the system refuses, something else than `product` is
            there, or another process is writing `path`; an older file is untouched.
    """
    check_replaceable(path, product, overwrite=overwrite)
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with held_lock(target.with_name(f".{target.name}")) as has_lock:
            if has_lock is False:
                raise PipelineError(
                    f"{path}: one writer expected, got a second while another process writes it; "
                    "wait for that one or choose another name"
                )
            if has_lock:
                _remove_abandoned(target)
            # Not by `tempfile`, whose files nobody but their owner may read. "x" follows no link.
            partial.open("xb").close()
            try:
                yield partial
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
                check_replaceable(path, product, overwrite=overwrite)  # work may take hours
                partial.replace(target)
                _sync_folder(target.parent)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def held_lock(path: Path) -> Iterator[bool | None]:
    """Hold the lock of `path` within the block; the system drops it when its owner dies.

    The lock is that of `NAME.lock` beside `path`, which is gone afterwards; whoever else gets it
    knows that the writer of `path` is done or dead.

    Args:
        path: of a file that one process writes at a time; it need not exist.

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
        lock.acquire(blocking=False)
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
    """What killed writers of `target` left, whose lock this process holds."""
    for path in target.parent.glob(f".{glob.escape(target.name)}.????????.partial*"):
        if re.search(r"\.[0-9a-f]{8}\.partial(\.lock)?$", path.name):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Put a new name on the disk as well; some network file systems do so by themselves."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folder, others none that may only be written to
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def check_writable(path: Path, *, touches: bool = True) -> None:
    """Raise now rather than after hours of work.

    Args:
        path: of the output.
        touches: write an empty file to find out; else only permissions are asked.

    Raises:
        PipelineError: the folder is missing or not writable.
    """
    folder = Path(os.path.realpath(path)).parent
    try:
        if touches:
            tempfile.TemporaryFile(dir=folder).close()
            return
        os.scandir(folder).close()
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> PipelineError:
    """The one wording for an output that cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return PipelineError(
        f"{path}: a file in a writable folder with space left expected, got: {reason}; "
        "create the folder, make room or choose another output"
    )
