"""CRC-32 of every 4 MiB of a dataset, and one of all attributes.

CRC-32 is the one of zlib, gzip and PNG. `schema` says over which bytes it is taken.
"""

import os
import zlib
from collections.abc import Iterator

import h5py
import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent
from marr_pipeline.cache.fingerprint import canonical_json
from marr_pipeline.cache.schema import CHECKSUM_BYTES, CHECKSUMS, text


def walk_datasets(group: h5py.Group) -> Iterator[str]:
    """Paths of all datasets that carry a checksum, in the order of their names."""
    for name in group:
        path = f"{group.name}/{name}".lstrip("/")
        if path == CHECKSUMS:
            continue
        if group.get(name, getclass=True) is h5py.Group:
            yield from walk_datasets(group[name])
        else:
            yield path


def is_variable_text(dtype: np.dtype[np.generic]) -> bool:
    """Whether the strings lie in HDF5's heap: only those of variable length do."""
    kind = h5py.check_string_dtype(dtype)
    return kind is not None and kind.length is None


def raw_extents(file: h5py.File) -> list[Extent]:
    """Places of the datasets whose bytes HDF5 hands on without interpreting them.

    Raises:
        CacheError: one is not contiguous.
    """
    datasets = (file[name] for name in walk_datasets(file))
    return [Extent.of(dataset) for dataset in datasets if not is_variable_text(dataset.dtype)]


def dataset_blocks(dataset: h5py.Dataset, descriptor: int) -> Iterator[bytes]:
    """The bytes that a dataset's checksums are taken over, 4 MiB at a time.

    Args:
        dataset: numbers or strings.
        descriptor: the same file, open for reading.

    Raises:
        CacheError: the file ends inside the dataset, or the dataset is not contiguous.
        OSError: the disk or HDF5 cannot read it.
    """
    if is_variable_text(dataset.dtype):
        joined = b"\0".join(np.atleast_1d(dataset[()]))
        # An empty string has no bytes but still one checksum.
        for start in range(0, max(len(joined), 1), CHECKSUM_BYTES):
            yield joined[start : start + CHECKSUM_BYTES]
        return
    extent = Extent.of(dataset)
    for start in range(0, extent.num_bytes, CHECKSUM_BYTES):
        size = min(CHECKSUM_BYTES, extent.num_bytes - start)
        block = os.pread(descriptor, size, extent.offset + start)
        if len(block) != size:
            raise CacheError(
                f"{dataset.file.filename}: {dataset.name}: {size} bytes at {extent.offset + start} "
                f"expected, got {len(block)}; the file is truncated: write or copy it again"
            )
        yield block


def dataset_checksums(dataset: h5py.Dataset, descriptor: int) -> npt.NDArray[np.uint32]:
    """One CRC-32 for each 4 MiB; arguments and errors as for `dataset_blocks`."""
    sums = [zlib.crc32(block) for block in dataset_blocks(dataset, descriptor)]
    return np.array(sums, dtype=np.uint32)


def attributes_checksum(file: h5py.File) -> int:
    """CRC-32 of the attributes of the root and of all datasets."""
    owners = {"/": file, **{path: file[path] for path in walk_datasets(file)}}
    values = {
        path: {name: _plain(value) for name, value in owner.attrs.items()}
        for path, owner in owners.items()
        if len(owner.attrs) > 0
    }
    return zlib.crc32(canonical_json(values, where="attributes").encode())


def _plain(value: object) -> object:
    """An attribute as JSON: a string or a list of strings."""
    if isinstance(value, np.ndarray):
        return [text(item) for item in value.tolist()]
    return text(value)
