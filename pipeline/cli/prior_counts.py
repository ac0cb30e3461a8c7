"""The class counts that a foreign checkpoint was trained on, as `--prior-counts` says them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import cache
from pipeline.errors import DataError

TRAIN, UNIFORM = "train", "uniform"
KEYS = ("prior_counts", "class_counts", "train_shots")
"""Under which counts stand in an `.npz` or a JSON object; the last is that of published lists."""


def prior_counts(
    said: str | None, class_counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64] | None:
    """Counts (K,) in class order.

    Args:
        said: `train`, `uniform`, or a file with one number a class: `.npz`, `.npy`, `.json`, or
            text; None if it is not known.
        class_counts: (K,) of the training split.

    Raises:
        DataError: the file has no such numbers.
    """
    if said is None:
        return None
    if said == TRAIN:
        return class_counts.astype(np.float64)
    if said == UNIFORM:
        return np.full(len(class_counts), class_counts.mean())
    path = Path(said)
    counts = _read(path)
    if counts.shape != class_counts.shape:
        raise DataError(
            f"{path}: {len(class_counts)} counts expected, one a class in class order, got an "
            f"array {counts.shape}; count the images that the network was trained on"
        )
    is_count = np.isfinite(counts) & (counts >= 0)
    if not is_count.all() or not counts.any():
        shown = counts[~is_count][0] if not is_count.all() else "zeros alone"
        raise DataError(
            f"{path}: numbers of at least 0, not all of them 0, expected, got {shown}; "
            "count the images that the network was trained on"
        )
    return counts


def _read(path: Path) -> npt.NDArray[np.float64]:
    found: Any
    if path.suffix == ".npz":
        found = _named(path, cache.read_npz(path))
    else:
        try:
            if path.suffix == ".npy":
                found = np.load(path, allow_pickle=False)
            elif path.suffix == ".json":
                found = json.loads(path.read_text(encoding="utf-8"))
                found = _named(path, found) if isinstance(found, dict) else found
            else:
                found = path.read_text(encoding="utf-8").replace(",", " ").split()
        except (OSError, EOFError, ValueError) as error:
            raise _unreadable(path, error) from error
    try:
        return np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _unreadable(path, error) from error


def _named(path: Path, found: dict[str, Any]) -> Any:
    for key in KEYS:
        if key in found:
            return found[key]
    raise DataError(
        f"{path}: counts under {' or '.join(KEYS)} expected, got {', '.join(found) or 'nothing'}; "
        "rename them"
    )


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: one number a class expected as .npz, .npy, .json or text, got: "
        f"{next(iter(str(error).splitlines()), type(error).__name__)}; write them so"
    )
