"""What the checksums in a cache are taken over.

The CRC-32 is the one of zlib, gzip and PNG. `schema` says over which bytes of a dataset and of the
attributes it is taken.
"""

import zlib
from collections.abc import Iterator, Mapping

import h5py
import numpy as np

from marr_pipeline.cache.extent import Extent
from marr_pipeline.cache.fingerprint import canonical_json
from marr_pipeline.cache.schema import CHECKSUM_BYTES, text


def is_variable_text(dtype: np.dtype[np.generic]) -> bool:
    """Whether the strings lie in HDF5's heap: only those of variable length do."""
    kind = h5py.check_string_dtype(dtype)
    return kind is not None and kind.length is None


def dataset_blocks(dataset: h5py.Dataset, descriptor: int) -> Iterator[bytes]:
    """The bytes that a dataset's checksums are taken over, 4 MiB at a time.

    Args:
        dataset: numbers or strings.
        descriptor: the same file, open for reading.

    Raises:
        CacheError: the file ends inside the dataset, or the dataset is not contiguous.
    """
    if not is_variable_text(dataset.dtype):
        where = f"{dataset.file.filename}: {dataset.name}"
        yield from Extent.of(dataset).blocks(descriptor, where=where)
        return
    joined = b"\0".join(np.atleast_1d(dataset[()]))
    # An empty string has no bytes but still one checksum.
    for start in range(0, max(len(joined), 1), CHECKSUM_BYTES):
        yield joined[start : start + CHECKSUM_BYTES]


def attributes_checksum(file: h5py.File, datasets: Mapping[str, h5py.Dataset]) -> int:
    """CRC-32 of the attributes of the root and of the datasets, by their paths."""
    values = {
        path: {name: _plain(value) for name, value in owner.attrs.items()}
        for path, owner in {"/": file, **datasets}.items()
        if len(owner.attrs) > 0
    }
    return zlib.crc32(canonical_json(values, where="attributes").encode())


def _plain(value: object) -> object:
    """An attribute as JSON: a string or a list of strings."""
    if isinstance(value, np.ndarray):
        return [text(item) for item in value.tolist()]
    return text(value)
