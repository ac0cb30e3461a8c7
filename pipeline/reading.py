"""What readers of users' files share: one error for all that a library meets there, and forms.

A library meets a damaged file with almost any exception; whatever it is, the user's line is one.
"""

import errno
import mmap
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marr_pipeline.errors import DataError, PipelineError, first_line

_INFLATED_AT_MOST = 1040
"""Bytes that DEFLATE, of all methods the one that NumPy and torch use, can make of one."""
_MEMORY_WORDS = (
    *("not enough memory", "allocate memory", "out of memory", "bad_alloc"),
    "failed to map segment",
)
"""Of torch's own errors, which are RuntimeErrors like its others, and of libraries being loaded."""
_LONGEST = 300
"""Characters of what a library says; it may quote a cell of a table."""
_LEAST_ROOM = 256 << 20
"""Bytes of address space; with less, torch does not get through its start."""


@contextmanager
def reading(where: object, expected: str, remedy: str) -> Iterator[None]:
    """Within the block, any exception but ours and want of memory becomes a DataError.

    Args:
        where: the file's path.
        expected: what the file should be.
        remedy: what to do.

    Raises:
        DataError: as said.
    """
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        if is_memory_short(error, where):
            raise
        said = first_line(error)
        said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ..."
        raise DataError(f"{where}: {expected} expected, got {said}; {remedy}") from error


def is_memory_short(error: Exception, where: object = None) -> bool:
    """Whether an error of Python, NumPy, torch or the system comes of want of memory.

    Where there is room for a file several times over, none is wanting: the file asks for more than
    it can hold.

    Args:
        error: any.
        where: path of the file that was being read.
    """
    if isinstance(error, OSError):
        is_said = error.errno == errno.ENOMEM
    else:
        is_said = isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError | ImportError)
            and any(words in str(error) for words in _MEMORY_WORDS)
        )
    if where is None:  # where there is none left, libraries fail with other words too
        return is_said or not _has_room(_LEAST_ROOM)
    return is_said and not _has_room(4 * Path(str(where)).stat().st_size)


def _has_room(num_bytes: int) -> bool:
    """Whether the address space has so much left; nothing of it is used."""
    try:
        mmap.mmap(-1, num_bytes + 1).close()
    except (OSError, MemoryError):
        return False
    return True


def check_archive(archive: zipfile.ZipFile, *, size: int) -> None:
    """Refuse a zip whose entries claim more than its bytes can hold, or are not for everybody.

    Args:
        archive: of arrays or tensors.
        size: of the file, in bytes.

    Raises:
        ValueError: of what the archive is, as `reading` takes it.
    """
    entries = archive.infolist()
    for each in entries:
        if each.flag_bits & 0x41:
            raise ValueError(f"{each.filename}, which is encrypted")
        most = each.compress_size * (_INFLATED_AT_MOST if each.compress_type else 1)
        if each.file_size > most:
            raise ValueError(
                f"{each.filename}, which claims {each.file_size:,} bytes of {each.compress_size:,}"
            )
    if sum(each.compress_size for each in entries) > size:
        raise ValueError("entries that overlap or are longer than the file")


def is_number(text: str) -> bool:
    """Whether Python takes it for a number, as it does `1.5`, `-1`, `1_0` and `nan`."""
    try:
        float(text)
    except ValueError:
        return False
    return True


Form = Any
"""Of a plain value: a type; a tuple of forms, any of which will do; a list of the one form that all
items have; or forms by key, where a key that ends in ? may be missing and others may be there."""


def check_form(value: object, form: Form, *, where: str, remedy: str) -> None:
    """Raise a DataError that names the first part of a document that is not of its form.

    Args:
        value: of JSON or torch: dicts, lists and what is in them.
        form: see `Form`.
        where: how errors name the file.
        remedy: what to do.
    """
    found = _misfit(value, form, "")
    if found is not None:
        raise DataError(f"{where}: {found}; {remedy}")


def _misfit(value: Any, form: Form, name: str) -> str | None:
    if isinstance(form, tuple):
        each_says = [_misfit(value, each, name) for each in form]
        return None if None in each_says else each_says[-1]
    kind: type = form if isinstance(form, type) else type(form)
    kinds: tuple[type, ...] = (Mapping,) if kind is dict else (kind,)
    kinds = (list, tuple) if kind is list else kinds
    is_number = isinstance(value, bool) and kind in (int, float)  # to Python a bool is one
    if is_number or not issubclass(type(value), kinds):
        expected = "nothing" if kind is type(None) else kind.__name__
        return f"{name or 'its content'} as {expected} expected, got {type(value).__name__}"
    inner: list[tuple[Any, Form, str]] = []
    if isinstance(form, list):
        inner = [(each, form[0], f"{name}[{at}]") for at, each in enumerate(value)]
    elif isinstance(form, dict):
        prefix = f"{name}." if name else ""
        for key, of_key in form.items():
            own = key.removesuffix("?")
            if key == "*":
                inner += [(each, of_key, f"{prefix}{name}") for name, each in value.items()]
            elif own in value:
                inner.append((value[own], of_key, prefix + own))
            elif own == key:
                return f"{prefix}{own} expected, got none of that name"
    return next((found for each in inner if (found := _misfit(*each)) is not None), None)
