"""Arrays and strings of an opened cache, each checked where it is fetched."""

import json
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import h5py
import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent
from marr_pipeline.cache.opening import opened

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedFile:
    """An open HDF5 file and its bytes mapped to memory."""

    file: h5py.File
    mapping: mmap.mmap

    def array(
        self, name: str, *, types: Sequence[type[Scalar]], ndims: Sequence[int] = (1,)
    ) -> npt.NDArray[Scalar]:
        """A dataset's array, without a copy.

        Raises:
            CacheError: it is missing, of another type, or has another number of axes.
        """
        array = self.optional(name, types=types, ndims=ndims)
        if array is None:
            raise CacheError(
                f"{self.file.filename}: dataset /{name} expected, got none; write the cache again"
            )
        return array

    def optional(
        self, name: str, *, types: Sequence[type[Scalar]], ndims: Sequence[int] = (1,)
    ) -> npt.NDArray[Scalar] | None:
        """As `array`, or None if there is no dataset of that name."""
        dataset = self.file.get(name)
        if dataset is None:
            return None
        where = f"{self.file.filename}: /{name}"
        allowed = [np.dtype(kind).newbyteorder("<") for kind in types]
        is_dataset = isinstance(dataset, h5py.Dataset)
        if not is_dataset or dataset.dtype not in allowed or dataset.ndim not in ndims:
            found = f"{dataset.dtype} {dataset.shape}" if is_dataset else "a group"
            raise CacheError(
                f"{where}: {' or '.join(dtype.name for dtype in allowed)} with "
                f"{' or '.join(str(ndim) for ndim in ndims)} axes expected, "
                f"got {found}; write the cache again"
            )
        return cast("npt.NDArray[Scalar]", Extent.of(dataset).view(self.mapping, where=where))


@dataclass(frozen=True, kw_only=True)
class Source:
    """The very file that was opened, to read its strings when they are asked for.

    Attributes:
        path: the file.
        stamp: device, inode and time of change in ns, which tell it from a newer one.
    """

    path: Path
    stamp: tuple[int, int, int]

    @classmethod
    def of(cls, file: h5py.File, path: Path) -> "Source":
        """The file behind an open handle."""
        status = os.fstat(file.id.get_vfd_handle())
        return cls(path=path, stamp=(status.st_dev, status.st_ino, status.st_mtime_ns))

    def require(self, earlier: "Source") -> None:
        """Refuse another file of the same name.

        Raises:
            CacheError: the file has been replaced since `earlier`.
        """
        if self != earlier:
            raise CacheError(
                f"{self.path}: the file as it was opened expected, got a newer one of that "
                "name; start again"
            )

    def strings(self, name: str) -> list[str] | None:
        """A dataset of strings, or None if there is none of that name.

        Raises:
            CacheError: the file has been replaced since it was opened, or is damaged.
        """
        with opened(self.path) as file:
            Source.of(file, self.path).require(self)
            return read_strings(file, name) if name in file else None


def read_strings(file: h5py.File, name: str) -> list[str]:
    """A dataset of strings; a single string is a list of one."""
    return [value.decode("utf-8") for value in np.atleast_1d(file[name][()])]


def parse_document(document: str, *, where: str) -> object:
    """The value of a JSON document.

    Raises:
        CacheError: it is none.
    """
    try:
        value: object = json.loads(document)
    except ValueError as error:
        raise CacheError(
            f"{where}: JSON expected, got {error}; "
            "the file is damaged: run `pipeline verify`, then write or copy it again"
        ) from error
    return value
