"""Arrays in `.npz` archives: read whole and without pickle, written block by block."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.blocks import byte_blocks
from marr_pipeline.cache.errors import CacheError, first_line


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of an `.npz`, by name; no pickled object is ever loaded.

    Raises:
        CacheError: not an archive, damaged, or it holds objects.
    """
    try:
        with path.open("rb") as raw:
            loaded = np.load(raw, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise CacheError(
                    f"{path}: an .npz archive expected, got a single array; "
                    "use numpy.savez(path, name=array, ...)"
                )
            with loaded:
                return {key: loaded[key] for key in loaded.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise CacheError(
            f"{path}: an .npz archive of plain arrays expected, got {first_line(error)}; "
            "use numpy.savez(path, name=array, ...), without objects"
        ) from error


def write_npz(file: BinaryIO, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write an uncompressed `.npz`, as `numpy.savez` does, without loading a mapped array whole.

    The same arrays give the same bytes: entries carry no time.

    Args:
        file: open for writing, seekable.
        arrays: by name; numbers, booleans or strings, no objects.

    Raises:
        OSError: the disk refuses.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(
                    member,
                    {
                        "descr": np.lib.format.dtype_to_descr(array.dtype),
                        "fortran_order": False,
                        "shape": array.shape,
                    },
                )
                for block in byte_blocks(array):
                    member.write(block)
