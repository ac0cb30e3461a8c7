"""The HDF5 file around the rows: made before the first row comes, sealed after the last.

HDF5 is at work only inside `create_file` and `seal_file`. In between the file is a valid one in
state "writing" whose rows are put in place with plain system calls, see `extent`.

HDF5 cannot bear a disk that fills up while it writes its records: the error comes from closing,
and the library then crashes the process when it ends (HDF5 2.0 does, with a segmentation fault).
So h5py is given a file in memory that cannot fail, and its pages go to the disk with plain system
calls, whose errors are plain.
"""

import datetime
import io
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import h5py
import numpy as np
import numpy.typing as npt

from marr_pipeline.cache import schema
from marr_pipeline.cache.extent import (
    Extent,
    attributes_checksum,
    dataset_blocks,
    is_variable_text,
    read_at,
    write_at,
)
from marr_pipeline.cache.fingerprint import fingerprint
from marr_pipeline.cache.head import Head
from marr_pipeline.cache.plan import CachePlan
from marr_pipeline.cache.schema import split_dataset
from marr_pipeline.cache.sealed import write_seal
from marr_pipeline.cache.tree import open_datasets

_STRING = h5py.string_dtype("utf-8")
# One cache line: what vector instructions and any dtype of the format can ask for.
_ALIGNMENT = 64
_PAGE = 4096


def create_file(descriptor: int, plan: CachePlan, *, keeps_rows: bool = False) -> dict[str, Extent]:
    """Write everything but rows, labels and ids, and reserve the places of rows and labels.

    Args:
        descriptor: open for reading and writing; what is there is lost.
        plan: what the cache will hold.
        keeps_rows: leave the bytes at the reserved places as they are; a file of the same plan
            has its rows there.

    Returns:
        Where each reserved dataset lies.
    """
    with _staged_hdf5(descriptor, "w", keeps_bytes=keeps_rows) as file:
        file.attrs.update(_root_attributes(plan))
        _write_array(file, schema.CLASS_COUNTS, plan.class_counts.astype(schema.LABEL_DTYPE))
        if plan.class_names is not None:
            file.create_dataset(schema.CLASS_NAMES, data=list(plan.class_names), dtype=_STRING)
        if plan.head is not None:
            _write_head(file, plan.head)
        for key, document in plan.meta_documents().items():
            file.create_dataset(f"{schema.META}/{key}", data=document, dtype=_STRING)
        places = {}
        for name, wanted in plan.row_arrays().items():
            dataset = _reserve(file, name, wanted.shape, wanted.dtype)
            if not name.endswith("/labels"):
                split = name.split("/")[1]
                dataset.attrs.create("views", list(plan.splits[split].views), dtype=_STRING)
            places[name] = Extent.of(dataset)
    return places


def seal_file(
    descriptor: int,
    ids: Mapping[str, list[str] | npt.NDArray[np.int64]],
    row_sums: Mapping[str, Sequence[int]],
) -> None:
    """Add the ids, every checksum and the seal, and declare the file complete.

    Args:
        descriptor: the file that `create_file` made, all its rows written.
        ids: split name to its N ids.
        row_sums: CRC-32 of every 4 MiB of the datasets whose bytes the caller has read already.
    """
    with _staged_hdf5(descriptor, "r+") as file:
        for split, values in ids.items():
            name = split_dataset(split, "ids")
            if isinstance(values, np.ndarray):
                _write_array(file, name, values.astype(schema.LABEL_DTYPE))
            else:
                _write_array(file, name, _fixed_strings(values))
        file.attrs["state"] = schema.STATE_SEALED
        file.attrs[schema.SEAL] = schema.SEAL_CRC32
    # The checksums are taken over what lies in the file itself, so it is closed in between.
    with _staged_hdf5(descriptor, "r+") as file:
        datasets = open_datasets(file)
        for name, dataset in datasets.items():
            sums = row_sums.get(name)
            if sums is None:
                sums = [zlib.crc32(block) for block in dataset_blocks(dataset, descriptor)]
            _write_array(file, f"{schema.CHECKSUMS}/{name}", np.array(sums, schema.CHECKSUM_DTYPE))
        total = np.array(attributes_checksum(file, datasets), schema.CHECKSUM_DTYPE)
        file[schema.CHECKSUMS].attrs.create(schema.CHECKSUM_OF_ATTRIBUTES, total)
        extents = [Extent.of(one) for one in datasets.values() if not is_variable_text(one.dtype)]
    write_seal(descriptor, extents)


def _fixed_strings(values: list[str]) -> npt.NDArray[np.bytes_]:
    """UTF-8 padded with NUL to the longest: rows like numbers, and none of HDF5's heap."""
    encoded = np.array([value.encode() for value in values])
    return encoded.astype(h5py.string_dtype("utf-8", max(1, encoded.dtype.itemsize)))


def _root_attributes(plan: CachePlan) -> dict[str, str]:
    now = datetime.datetime.now(datetime.UTC)
    versions = {"h5py": h5py.__version__, "hdf5": h5py.version.hdf5_version, **plan.libraries}
    return {
        "format": schema.FORMAT,
        "format_version": schema.FORMAT_VERSION,
        "state": schema.STATE_WRITING,
        "fingerprint": fingerprint(plan.parts),
        "head_fingerprint": plan.head_fingerprint,
        "creator": plan.creator,
        "created_utc": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        **{f"{name}_version": version for name, version in versions.items()},
    }


def _write_head(file: h5py.File, head: Head) -> None:
    for name, array in head.arrays().items():
        little_endian = array.dtype.newbyteorder("<")
        _write_array(file, f"{schema.HEAD}/{name}", array.astype(little_endian, copy=False))
    if head.normalise != "none":
        file[schema.HEAD].attrs.create(schema.HEAD_NORMALISE, head.normalise, dtype=_STRING)


def _reserve(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> h5py.Dataset:
    """A contiguous dataset whose place is fixed now and whose bytes HDF5 never touches.

    Only h5py's low-level interface offers both.
    """
    group_name, _, leaf = name.rpartition("/")
    group = file.require_group(group_name) if group_name else file
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.py_create(dtype)
    return h5py.Dataset(h5py.h5d.create(group.id, leaf.encode(), kind, space, properties))


def _write_array(file: h5py.File, name: str, array: npt.NDArray[np.generic]) -> None:
    _reserve(file, name, array.shape, array.dtype)[...] = array


@contextmanager
def _staged_hdf5(
    descriptor: int, mode: Literal["w", "r+"], *, keeps_bytes: bool = False
) -> Iterator[h5py.File]:
    """An HDF5 file over an open descriptor; it reaches the disk when the block ends well.

    Args:
        descriptor: open for reading and writing.
        mode: "w" starts an empty file, "r+" changes the one that is there.
        keeps_bytes: for "w": bytes that HDF5 does not write stay as they are.
    """
    num_bytes = os.fstat(descriptor).st_size
    stage = _StagedFile(
        descriptor,
        num_bytes=0 if mode == "w" else num_bytes,
        num_old_bytes=0 if mode == "w" and not keeps_bytes else num_bytes,
    )
    with h5py.File(
        stage,
        mode,
        libver=schema.LIBVER,
        alignment_threshold=_ALIGNMENT,
        alignment_interval=_ALIGNMENT,
    ) as file:
        yield file
    stage.commit()


class _StagedFile(io.RawIOBase):
    """A file whose changed pages stay in memory until `commit`.

    Args:
        descriptor: the file beneath.
        num_bytes: length of the file to begin with.
        num_old_bytes: how much of the file beneath counts; what lies beyond reads as zeros.
    """

    def __init__(self, descriptor: int, *, num_bytes: int, num_old_bytes: int) -> None:
        self._descriptor = descriptor
        self._num_old_bytes = num_old_bytes
        self._num_bytes = num_bytes
        self._position = 0
        self._pages: dict[int, bytearray] = {}

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._num_bytes}
        self._position = start[whence] + offset
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self._num_bytes = self._position if size is None else size
        self._num_old_bytes = min(self._num_old_bytes, self._num_bytes)
        return self._num_bytes

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what h5py passes
        target = memoryview(buffer).cast("B")
        size = max(0, min(len(target), self._num_bytes - self._position))
        for done, index, start, stop in self._pieces(size):
            page = self._pages.get(index) or self._old_page(index)
            target[done : done + stop - start] = page[start:stop]
        self._position += size
        return size

    def write(self, buffer: memoryview) -> int:  # type: ignore[override] # what h5py passes
        source = memoryview(buffer).cast("B")
        for done, index, start, stop in self._pieces(len(source)):
            if index not in self._pages:
                self._pages[index] = self._old_page(index)
            self._pages[index][start:stop] = source[done : done + stop - start]
        self._position += len(source)
        self._num_bytes = max(self._num_bytes, self._position)
        return len(source)

    def commit(self) -> None:
        """Give the file beneath its length and its changed pages."""
        os.ftruncate(self._descriptor, self._num_old_bytes)
        os.ftruncate(self._descriptor, self._num_bytes)
        for index, page in sorted(self._pages.items()):
            offset = index * _PAGE
            write_at(self._descriptor, memoryview(page)[: max(0, self._num_bytes - offset)], offset)

    def _pieces(self, size: int) -> Iterator[tuple[int, int, int, int]]:
        """Bytes done, page, first and last byte within it, for `size` bytes from here."""
        done = 0
        while done < size:
            index, start = divmod(self._position + done, _PAGE)
            stop = min(_PAGE, start + size - done)
            yield done, index, start, stop
            done += stop - start

    def _old_page(self, index: int) -> bytearray:
        offset = index * _PAGE
        size = max(0, min(_PAGE, self._num_old_bytes - offset))
        return bytearray(read_at(self._descriptor, size, offset).ljust(_PAGE, b"\0"))
