"""The HDF5 file around the rows: made before the first row comes, sealed after the last.

HDF5 is at work only inside these two functions. In between the file is a valid one in state
"writing" whose rows are put in place with plain system calls, see `extent`.
"""

import datetime
from collections.abc import Mapping

import h5py
import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.checksums import (
    attributes_checksum,
    dataset_checksums,
    raw_extents,
    walk_datasets,
)
from marr_pipeline.cache.extent import Extent
from marr_pipeline.cache.fingerprint import fingerprint
from marr_pipeline.cache.plan import CachePlan
from marr_pipeline.cache.schema import (
    CHECKSUM_DTYPE,
    CHECKSUM_OF_ATTRIBUTES,
    CHECKSUMS,
    CLASS_COUNTS,
    CLASS_NAMES,
    FORMAT,
    FORMAT_VERSION,
    HEAD,
    LABEL_DTYPE,
    META,
    SEAL,
    SEAL_CRC32,
    STATE_SEALED,
    STATE_WRITING,
    split_dataset,
)
from marr_pipeline.cache.seal import write_seal
from marr_pipeline.cache.staging import staged_hdf5

_STRING = h5py.string_dtype("utf-8")


def create_file(descriptor: int, plan: CachePlan, *, keeps_rows: bool = False) -> dict[str, Extent]:
    """Write everything but rows, labels and ids, and reserve the places of rows and labels.

    Args:
        descriptor: open for reading and writing; what is there is lost.
        plan: what the cache will hold.
        keeps_rows: leave the bytes at the reserved places as they are; a file of the same plan
            has its rows there.

    Returns:
        Where each reserved dataset lies.

    Raises:
        OSError: the disk refuses.
    """
    with staged_hdf5(descriptor, "w", keeps_bytes=keeps_rows) as file:
        file.attrs.update(_root_attributes(plan))
        _write_array(file, CLASS_COUNTS, plan.class_counts.astype(LABEL_DTYPE))
        if plan.class_names is not None:
            file.create_dataset(CLASS_NAMES, data=list(plan.class_names), dtype=_STRING)
        for name, array in plan.head.arrays().items():
            little_endian = array.dtype.newbyteorder("<")
            _write_array(file, f"{HEAD}/{name}", array.astype(little_endian, copy=False))
        for key, document in plan.meta_documents().items():
            file.create_dataset(f"{META}/{key}", data=document, dtype=_STRING)
        places = {}
        for name, wanted in plan.row_arrays().items():
            dataset = _reserve(file, name, wanted.shape, wanted.dtype)
            if not name.endswith("/labels"):
                split = name.split("/")[1]
                dataset.attrs.create("views", list(plan.splits[split].views), dtype=_STRING)
            places[name] = Extent.of(dataset)
    return places


def seal_file(descriptor: int, ids: Mapping[str, list[str] | npt.NDArray[np.int64]]) -> None:
    """Add the ids, every checksum and the seal, and declare the file complete.

    Args:
        descriptor: the file that `create_file` made, all its rows written.
        ids: split name to its N ids.

    Raises:
        OSError: the disk refuses.
    """
    with staged_hdf5(descriptor, "r+") as file:
        for split, values in ids.items():
            name = split_dataset(split, "ids")
            if isinstance(values, np.ndarray):
                _write_array(file, name, values.astype(LABEL_DTYPE))
            else:
                _write_array(file, name, _fixed_strings(values))
        file.attrs["state"] = STATE_SEALED
        file.attrs[SEAL] = SEAL_CRC32
    # The checksums are taken over what lies in the file itself, so it is closed in between.
    with staged_hdf5(descriptor, "r+") as file:
        names = list(walk_datasets(file))
        for name in names:
            sums = dataset_checksums(file[name], descriptor)
            _write_array(file, f"{CHECKSUMS}/{name}", sums.astype(CHECKSUM_DTYPE))
        total = np.uint32(attributes_checksum(file))
        file[CHECKSUMS].attrs.create(CHECKSUM_OF_ATTRIBUTES, total, dtype=CHECKSUM_DTYPE)
        extents = raw_extents(file)
    write_seal(descriptor, extents)


def _fixed_strings(values: list[str]) -> npt.NDArray[np.bytes_]:
    """UTF-8 padded with NUL to the longest: rows like numbers, and none of HDF5's heap."""
    encoded = np.array([value.encode() for value in values])
    return encoded.astype(h5py.string_dtype("utf-8", max(1, encoded.dtype.itemsize)))


def _root_attributes(plan: CachePlan) -> dict[str, str]:
    now = datetime.datetime.now(datetime.UTC)
    versions = {"h5py": h5py.__version__, "hdf5": h5py.version.hdf5_version, **plan.libraries}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "state": STATE_WRITING,
        "fingerprint": fingerprint(plan.parts),
        "head_fingerprint": plan.head.fingerprint(),
        "creator": plan.creator,
        "created_utc": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        **{f"{name}_version": version for name, version in versions.items()},
    }


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
