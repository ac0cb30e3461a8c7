"""A sealed cache: opened with h5py for a moment, or compared with its checksums byte by byte.

What outlives the moment are arrays over the mapped bytes and the texts that were read.
"""

import mmap
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import h5py
import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.checksums import (
    attributes_checksum,
    dataset_blocks,
    read_seal,
    walk_datasets,
)
from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent
from marr_pipeline.cache.schema import CHECKSUM_OF_ATTRIBUTES, CHECKSUMS, check_header

# What HDF5 raises on records that make no sense any more.
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, CacheError)

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
        return read_seal(descriptor, where=str(path)) is not None
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


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Bytes that are not those that were written.

    Attributes:
        dataset: path of the dataset, or "attributes".
        start: first byte of the damaged stretch, counted from the dataset's own first byte.
        stop: one past its last byte; equal to start where no byte could be compared.
        reason: expected and found.
    """

    dataset: str
    start: int
    stop: int
    reason: str

    def __str__(self) -> str:
        return f"{self.dataset}: bytes {self.start}..{self.stop}: {self.reason}"


def verify_cache(
    path: Path, *, progress: Callable[[int, int, str], None] | None = None
) -> list[Damage]:
    """Read the whole file and report what has changed since it was sealed.

    Args:
        path: the cache.
        progress: called with bytes done, bytes in all, and the dataset at hand.

    Returns:
        The damage found, empty if there is none.

    Raises:
        CacheError: the file cannot even be opened as a sealed cache.
    """
    with opened(path) as file:
        try:
            names = list(walk_datasets(file))
            summed = {name.removeprefix(f"{CHECKSUMS}/") for name in walk_datasets(file[CHECKSUMS])}
        except _HDF5_ERRORS as error:
            return [_unreadable("/", error)]
        found = [
            Damage(dataset=name, start=0, stop=0, reason="a checksum is stored, but no dataset")
            for name in sorted(summed.difference(names))
        ]
        sizes = {name: _num_bytes(file, name) for name in names}
        total, done = sum(sizes.values()), 0
        for name in names:
            try:
                for stop, damage in _check_blocks(file, name):
                    found.extend(damage)
                    if progress is not None:
                        progress(done + min(stop, sizes[name]), total, name)
            except _HDF5_ERRORS as error:
                found.append(_unreadable(name, error))
            done += sizes[name]
        if progress is not None:
            progress(total, total, CHECKSUM_OF_ATTRIBUTES)
        found.extend(_check_attributes(file))
    return found


def _check_blocks(file: h5py.File, name: str) -> Iterator[tuple[int, list[Damage]]]:
    """End and damage of each 4 MiB of a dataset."""
    sums = file[f"{CHECKSUMS}/{name}"][...].tolist()
    descriptor = file.id.get_vfd_handle()
    start = index = 0
    for index, block in enumerate(dataset_blocks(file[name], descriptor), start=1):
        stop = start + len(block)
        actual = zlib.crc32(block)
        expected = sums[index - 1] if index <= len(sums) else None
        damage = []
        if actual != expected:
            wanted = "none stored" if expected is None else f"{expected:08x}"
            reason = f"CRC-32 {wanted} expected, got {actual:08x}"
            damage.append(Damage(dataset=name, start=start, stop=stop, reason=reason))
        yield stop, damage
        start = stop
    if index < len(sums):
        reason = f"{len(sums)} checksums are stored, but it has {index} blocks"
        yield start, [Damage(dataset=name, start=start, stop=start, reason=reason)]


def _check_attributes(file: h5py.File) -> list[Damage]:
    try:
        expected = int(file[CHECKSUMS].attrs[CHECKSUM_OF_ATTRIBUTES])
        actual = attributes_checksum(file)
    except _HDF5_ERRORS as error:
        return [_unreadable(CHECKSUM_OF_ATTRIBUTES, error)]
    if actual == expected:
        return []
    reason = f"CRC-32 {expected:08x} expected, got {actual:08x}"
    return [Damage(dataset=CHECKSUM_OF_ATTRIBUTES, start=0, stop=0, reason=reason)]


def _num_bytes(file: h5py.File, name: str) -> int:
    """Size of a dataset, for the progress shown; 0 if HDF5 cannot open it, reported in its turn."""
    try:
        return int(file[name].nbytes)
    except _HDF5_ERRORS:
        return 0


def _unreadable(dataset: str, error: Exception) -> Damage:
    return Damage(dataset=dataset, start=0, stop=0, reason=f"HDF5 cannot read it: {error}")
