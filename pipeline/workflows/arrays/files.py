"""Files of arrays as users have them: `.npy`, `.npz`, text tables, torch and safetensors.

No pickled object is ever loaded.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.errors import DataError, first_line
from marr_pipeline.tensor_file import read_tensor_file
from marr_pipeline.workflows.arrays.table import read_csv

_TENSOR_SUFFIXES = (".safetensors", ".pt", ".pth")
_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """Where the rows of one split are.

    Attributes:
        rows: `.npz`, `.csv`, `.safetensors`, `.pt` or `.pth` with logits and labels, or `.npy`
            with the logits alone.
        labels: `.npy` with the labels, beside an `.npy` of logits.
    """

    rows: Path
    labels: Path | None = None

    def __str__(self) -> str:
        return str(self.rows) if self.labels is None else f"{self.rows}, {self.labels}"


def read_split(name: str, files: SplitFiles) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a split's files, by name and unchecked.

    In a single file for all splits they carry the split's name, `train/logits`.

    Raises:
        DataError: a file is of no known kind, not of its kind, or damaged.
    """
    suffix = files.rows.suffix
    if suffix == ".npy" and files.labels is not None:
        return {"logits": map_npy(files.rows), "labels": map_npy(files.labels)}
    if suffix == ".csv":
        return read_csv(files.rows)
    if suffix == ".npz":
        arrays = read_npz(files.rows)
    elif suffix in _TENSOR_SUFFIXES:
        arrays = read_tensors(files.rows)
    else:
        raise DataError(
            f"{files.rows}: logits and labels as .npz, .csv, {', '.join(_TENSOR_SUFFIXES)} or a "
            f"pair of .npy expected, got '{suffix}'; save them so"
        )
    if "logits" in arrays:
        return arrays
    prefix = f"{name}/"
    own = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
    return own or arrays


def read_logits(path: Path) -> dict[str, npt.NDArray[Any]]:
    """`logits` (..., K) of an `.npz`, with `labels`, `ids` and `features` where they are there.

    Raises:
        DataError: not an `.npz`, damaged, or it holds objects; no logits in it, or logits that are
            not finite numbers, or features of others.
    """
    found = read_npz(path)
    wanted = ("logits", "labels", "ids", "features")
    arrays = {name: found[name] for name in found if name in wanted}
    logits = arrays.get("logits")
    if logits is None or logits.ndim < 2 or logits.dtype.kind != "f" or not logits.size:
        got = "none" if logits is None else f"{logits.shape} {logits.dtype}"
        raise DataError(f"{path}: floating-point 'logits' (N, K) expected, got {got}")
    if not np.isfinite(logits).all():
        row = np.argwhere(~np.isfinite(logits))[0].tolist()
        raise DataError(f"{path}: finite logits expected, got {logits[tuple(row)]} at {row}")
    features = arrays.get("features")
    if features is not None and features.shape[:-1] != logits.shape[:-1]:
        raise DataError(
            f"{path}: features of the rows of logits {logits.shape} expected, got {features.shape}"
        )
    return arrays


def map_npy(path: Path) -> npt.NDArray[Any]:
    """The array of an `.npy`, its bytes left in the file; no pickled object is ever loaded.

    Raises:
        DataError: not an `.npy`, truncated, or it holds objects.
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path}: an .npy file with one array of numbers expected, got {first_line(error)}; "
            "use numpy.save(path, array)"
        ) from error
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise DataError(
            f"{path}: an .npy file with one array expected, got an archive; name it .npz"
        )
    return loaded


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of an `.npz`, by name; no pickled object is ever loaded.

    Raises:
        DataError: not an archive, damaged, or it holds objects.
    """
    try:
        with path.open("rb") as raw:
            loaded = np.load(raw, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                with loaded:
                    return {key: loaded[key] for key in loaded.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: an .npz archive of plain arrays expected, got {first_line(error)}; "
            "use numpy.savez(path, name=array, ...), without objects"
        ) from error
    raise DataError(
        f"{path}: an .npz archive expected, got a single array; "
        "use numpy.savez(path, name=array, ...)"
    )


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every tensor, and every list of strings or integers, of a `.safetensors` or torch file.

    Tensors stay mapped where the file allows it. bfloat16 becomes float32; what NumPy has, stays.

    Raises:
        DataError: unreadable, not a dict, or it would need pickled code.
    """
    content = read_tensor_file(path, mapped=True)
    if not isinstance(content, Mapping):
        raise DataError(
            f"{path}: a dict of tensors as .safetensors or by torch.save expected, got: "
            f"a {type(content).__name__}; save plain tensors, no objects"
        )
    return _arrays(content)


def _arrays(content: Mapping[Any, Any]) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            is_other_float = value.is_floating_point() and value.dtype not in _NUMPY_FLOATS
            found[str(name)] = (value.float() if is_other_float else value).detach().numpy()
        elif _is_plain_list(value):
            found[str(name)] = np.array(value)
    return found


def _is_plain_list(value: object) -> bool:
    return isinstance(value, list | tuple) and (
        all(isinstance(item, str) for item in value) or all(type(item) is int for item in value)
    )
