"""Open a cache file with h5py for a moment, or say in one line why not.

What outlives that moment are arrays over the mapped bytes and the texts that were read.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import h5py
import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.checksums import check_seal
from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent
from marr_pipeline.cache.schema import check_header

_Scalar = TypeVar("_Scalar", bound=np.generic)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The sealed cache at `path`, read-only, closed at the end of the block.

    HDF5 sees the file only if its records are as they were written.

    No lock is taken: a sealed file is never written again, only replaced as a whole, and on
    network file systems asking for one is the most common failure (HDF5's "best-effort" forgives
    a file system without the call, but not one that answers "no locks available").

    Raises:
        CacheError: no cache of a known version, unfinished, truncated, or HDF5 fails inside it.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise CacheError(f"{path}: a cache file expected, got {found}; check the path")
    try:
        has_seal = _has_sound_seal(path)
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise CacheError(f"{path}: {_why_not_open(error)}") from error
    with file:
        try:
            check_header(file, has_seal=has_seal)
            yield file
        except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
            raise CacheError(
                f"{path}: readable HDF5 records expected, got {error}; "
                "the file is damaged: run `pipeline verify`, then write or copy it again"
            ) from error


def mapped_array(
    file: h5py.File,
    mapping: mmap.mmap,
    name: str,
    *,
    types: Sequence[type[_Scalar]],
    ndims: Sequence[int] = (1,),
) -> npt.NDArray[_Scalar] | None:
    """A dataset's array over the mapped file, without a copy; None if there is none of that name.

    Raises:
        CacheError: it is of another type, or has another number of axes.
    """
    dataset = file.get(name)
    if dataset is None:
        return None
    where = f"{file.filename}: /{name}"
    allowed = [np.dtype(kind).newbyteorder("<") for kind in types]
    is_dataset = isinstance(dataset, h5py.Dataset)
    if not is_dataset or dataset.dtype not in allowed or dataset.ndim not in ndims:
        found = f"{dataset.dtype} {dataset.shape}" if is_dataset else "a group"
        raise CacheError(
            f"{where}: {' or '.join(dtype.name for dtype in allowed)} with "
            f"{' or '.join(str(ndim) for ndim in ndims)} axes expected, "
            f"got {found}; write the cache again"
        )
    return cast("npt.NDArray[_Scalar]", Extent.of(dataset).view(mapping, where=where))


def read_strings(file: h5py.File, name: str) -> list[str] | None:
    """A dataset of strings, a single one as a list of one; None if there is none of that name."""
    if name not in file:
        return None
    return [value.decode("utf-8") for value in np.atleast_1d(file[name][()])]


def _has_sound_seal(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return check_seal(descriptor, where=str(path))
    finally:
        os.close(descriptor)


def _why_not_open(error: OSError) -> str:
    message = str(error)
    if "truncated" in message or "eof" in message:
        return "a whole file expected, got a truncated one; write or copy it again"
    if "signature not found" in message:
        return (
            "an HDF5 file expected, got something else; "
            "make a cache with `pipeline extract` or `pipeline import`"
        )
    if isinstance(error, PermissionError):
        return "a readable file expected, got no permission; ask its owner"
    return f"a readable HDF5 file expected, got {message!r}; write or copy it again"
