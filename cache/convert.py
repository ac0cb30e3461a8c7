"""Arrays of others, checked and brought into the cache's form.

V views, N samples, K classes, D features.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.errors import CacheError

# Probabilities stored as float16 still sum to 1 within this.
_PROBABILITY_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitArrays:
    """The rows of one split, in memory.

    Attributes:
        logits: (V, N, K) float32 or float16.
        labels: (N,) int64, class ids.
        features: (V, N, D) float32 or float16, or None.
        ids: N strings or (N,) int64, or None.
        views: V kinds of view; None means all "augmented", as views of unknown origin are.
    """

    logits: npt.NDArray[np.floating]
    labels: npt.NDArray[np.int64]
    features: npt.NDArray[np.floating] | None = None
    ids: list[str] | npt.NDArray[np.int64] | None = None
    views: tuple[str, ...] | None = None


def read_npz_split(path: Path) -> SplitArrays:
    """Read `logits` (N, K) or (V, N, K), `labels` (N,) and, if there, `features` and `ids`.

    float64 becomes float32. Log-probabilities are logits too; probabilities are not.

    Raises:
        CacheError: the file is no `.npz`, or an array is missing, misshapen or unfit.
    """
    arrays = read_npz(path)
    missing = [key for key in ("logits", "labels") if key not in arrays]
    if missing:
        raise CacheError(
            f"{path}: arrays 'logits' and 'labels' expected, got {', '.join(arrays) or 'none'}; "
            f"save {' and '.join(missing)} under that name"
        )
    logits = _as_views(arrays["logits"], where=f"{path}: logits")
    num_views, num_samples, num_classes = logits.shape
    if num_classes < 2:
        raise CacheError(f"{path}: logits: at least 2 classes expected, got 1; check the axes")
    _refuse_probabilities(logits, where=f"{path}: logits")
    labels = _as_labels(arrays["labels"], num_samples, num_classes, where=f"{path}: labels")
    features = None
    if "features" in arrays:
        features = _as_views(arrays["features"], where=f"{path}: features")
        if features.shape[:2] != (num_views, num_samples):
            raise CacheError(
                f"{path}: features of {num_views} views and {num_samples} rows, as the logits "
                f"have, expected, got {features.shape[0]} and {features.shape[1]}; save both alike"
            )
    ids = _as_ids(arrays["ids"], num_samples, where=f"{path}: ids") if "ids" in arrays else None
    return SplitArrays(logits=logits, labels=labels, features=features, ids=ids)


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
            f"{path}: an .npz archive of plain arrays expected, got {_first_line(error)}; "
            "use numpy.savez(path, name=array, ...), without objects"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _as_views(array: npt.NDArray[np.generic], *, where: str) -> npt.NDArray[np.floating]:
    """(N, W) or (V, N, W) -> (V, N, W) finite float32 or float16."""
    if array.ndim not in (2, 3) or array.size == 0:
        raise CacheError(
            f"{where}: shape (samples, width) or (views, samples, width) without an empty axis "
            f"expected, got {array.shape}; reshape it"
        )
    if array.dtype.kind != "f":
        raise CacheError(f"{where}: floating numbers expected, got {array.dtype}; convert it")
    values = array if array.ndim == 3 else array[None]
    if values.dtype not in (np.dtype(np.float32), np.dtype(np.float16)):
        with np.errstate(over="ignore"):  # what overflows is refused below
            values = values.astype(np.float32)
    is_finite = np.isfinite(values)
    if not is_finite.all():
        view, row, column = np.argwhere(~is_finite)[0]
        raise CacheError(
            f"{where}: finite float32 expected, got {values[view, row, column]} in row {row}"
            f"{f' of view {view}' if len(values) > 1 else ''}; remove or repair such rows"
        )
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def _refuse_probabilities(logits: npt.NDArray[np.floating], *, where: str) -> None:
    if logits.min() < 0 or logits.max() > 1:
        return
    sums = logits.sum(axis=-1, dtype=np.float64)
    if np.abs(sums - 1).max() <= _PROBABILITY_SUM_TOLERANCE:
        raise CacheError(
            f"{where}: logits expected, got what looks like probabilities (all within 0..1, every "
            "row sums to 1); give the values before the softmax, or log-probabilities"
        )


def _as_labels(
    array: npt.NDArray[np.generic], num_samples: int, num_classes: int, *, where: str
) -> npt.NDArray[np.int64]:
    if array.shape != (num_samples,):
        raise CacheError(
            f"{where}: shape ({num_samples},), one for each row of logits, expected, "
            f"got {array.shape}; save both alike"
        )
    if array.dtype.kind not in "iu":
        raise CacheError(f"{where}: integers expected, got {array.dtype}; save class ids")
    return check_labels(array.astype(np.int64), num_classes, where=where)


def check_labels(
    labels: npt.NDArray[np.int64], num_classes: int, *, where: str
) -> npt.NDArray[np.int64]:
    """The labels (N,), if all lie in 0..K-1.

    Raises:
        CacheError: one does not; it names the first.
    """
    is_outside = (labels < 0) | (labels >= num_classes)
    if is_outside.any():
        row = int(is_outside.argmax())
        raise CacheError(
            f"{where}: class ids in 0..{num_classes - 1} expected, got {labels[row]} in row {row}; "
            "do logits and labels use the same class list?"
        )
    return labels


def _as_ids(
    array: npt.NDArray[np.generic], num_samples: int, *, where: str
) -> list[str] | npt.NDArray[np.int64]:
    if array.shape != (num_samples,) or array.dtype.kind not in "iuUS":
        raise CacheError(
            f"{where}: {num_samples} strings or integers expected, got {array.dtype} "
            f"{array.shape}; save one for each row"
        )
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    try:
        return [str(i, "utf-8") if isinstance(i, bytes) else str(i) for i in array.tolist()]
    except UnicodeDecodeError as error:
        raise CacheError(f"{where}: UTF-8 expected, got {error.reason}; save strings") from error
