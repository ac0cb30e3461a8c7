"""One number a class from a file: `.npz`, `.npy`, `.json`, or text with blanks or commas."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError, first_line
from marr_pipeline.workflows.arrays.files import read_npz


def read_class_numbers(
    path: Path, num_classes: int, *, keys: Sequence[str], remedy: str
) -> npt.NDArray[np.float64]:
    """Numbers (K,) of at least 0 in class order, not all of them 0.

    Args:
        path: the file.
        num_classes: K.
        keys: under which they may stand in an `.npz` or a JSON object.
        remedy: what to do about a file that holds others.

    Raises:
        DataError: the file has no such numbers.
    """
    found = _read(path, keys)
    if found.shape != (num_classes,):
        raise DataError(
            f"{path}: {num_classes} numbers expected, one a class in class order, got an array "
            f"{found.shape}; {remedy}"
        )
    is_valid = np.isfinite(found) & (found >= 0)
    if not is_valid.all() or not found.any():
        shown = found[~is_valid][0] if not is_valid.all() else "zeros alone"
        raise DataError(
            f"{path}: numbers of at least 0, not all of them 0, expected, got {shown}; {remedy}"
        )
    return found


def _read(path: Path, keys: Sequence[str]) -> npt.NDArray[np.float64]:
    found: Any
    if path.suffix == ".npz":
        found = _named(path, read_npz(path), keys)
    else:
        try:
            if path.suffix == ".npy":
                found = np.load(path, allow_pickle=False)
            elif path.suffix == ".json":
                found = json.loads(path.read_text(encoding="utf-8"))
                found = _named(path, found, keys) if isinstance(found, dict) else found
            else:
                found = path.read_text(encoding="utf-8").replace(",", " ").split()
        except (OSError, EOFError, ValueError) as error:
            raise _unreadable(path, error) from error
    try:
        return np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _unreadable(path, error) from error


def _named(path: Path, found: dict[str, Any], keys: Sequence[str]) -> Any:
    for key in keys:
        if key in found:
            return found[key]
    raise DataError(
        f"{path}: numbers under {' or '.join(keys)} expected, got "
        f"{', '.join(found) or 'nothing'}; rename them"
    )


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: one number a class expected as .npz, .npy, .json or text, got: "
        f"{first_line(error)}; write them so"
    )
