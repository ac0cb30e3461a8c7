"""The rows of a split, checked and brought into the cache's form.

V views, N samples, K classes, D features. Probabilities, percentages and one-hot rows in place of
logits go through a fit without an error and give a wrong answer, so they are refused. Each is
recognised only if every row is so: logits of a real network that sum to 1 in each row and are
nowhere negative do not occur.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache import (
    SplitArrays,
    check_labels,
    check_views,
    first_not_finite,
    row_ranges,
)
from marr_pipeline.errors import DataError

_STORED_AS_IS = (np.float16, np.float32)
# Probabilities stored as float16 still sum to 1 within this.
_SUM_TOLERANCE = 1e-3


def split_arrays(arrays: Mapping[str, npt.NDArray[Any]], *, where: str) -> SplitArrays:
    """Check what a file holds of a split; large arrays are read block by block.

    Log-probabilities are logits too; probabilities are not.

    Args:
        arrays: `logits` (N, K) or (V, N, K), `labels` (N,) and, if there, `features` (N, D) or
            (V, N, D), `ids` (N,) and `views` (V,); others are left alone.
        where: how errors name the file.

    Raises:
        DataError: an array is missing, misshapen or unfit; it names the row.
        CacheError: labels or views that no cache holds.
    """
    missing = [key for key in ("logits", "labels") if key not in arrays]
    if missing:
        raise DataError(
            f"{where}: arrays 'logits' and 'labels' expected, got {', '.join(arrays) or 'none'}; "
            f"save {' and '.join(missing)} under that name"
        )
    logits = _as_views(arrays["logits"], where=f"{where}: logits")
    num_views, num_samples, num_classes = logits.shape
    if num_classes < 2:
        raise DataError(
            f"{where}: logits: at least 2 classes expected, got 1; check the axes, and give one "
            "number for each class, not the predicted class"
        )
    labels = _as_labels(arrays["labels"], num_samples, num_classes, where=f"{where}: labels")
    _check_are_logits(_finite_blocks(logits, where=f"{where}: logits"), where=f"{where}: logits")
    features = None
    if "features" in arrays:
        features = _as_views(arrays["features"], where=f"{where}: features")
        if features.shape[:2] != (num_views, num_samples):
            raise DataError(
                f"{where}: features of {num_views} views and {num_samples} rows, as the logits "
                f"have, expected, got {features.shape[0]} and {features.shape[1]}; save both alike"
            )
        for _ in _finite_blocks(features, where=f"{where}: features"):
            pass  # reading it is the check
    return SplitArrays(
        logits=logits,
        labels=labels,
        features=features,
        ids=_as_ids(arrays["ids"], num_samples, where=f"{where}: ids") if "ids" in arrays else None,
        views=_as_kinds(arrays["views"], num_views, where=f"{where}: views")
        if "views" in arrays
        else None,
    )


def _finite_blocks(
    values: npt.NDArray[np.floating], *, where: str
) -> Iterator[npt.NDArray[np.floating]]:
    """Blocks (B, W) of rows (V, N, W), as they would be stored: float32 or float16, all finite."""
    stored = values.dtype if values.dtype in _STORED_AS_IS else np.dtype(np.float32)
    for view, rows in enumerate(values):
        for start, stop in row_ranges(len(rows), rows[0].nbytes):
            with np.errstate(over="ignore"):  # what overflows is refused here
                block = rows[start:stop].astype(stored, copy=False)
            place = first_not_finite(block)
            if place is not None:
                row, column = place
                raise DataError(
                    f"{where}: finite {stored.name} expected, got {block[row, column]} in row "
                    f"{start + row}{f' of view {view}' if len(values) > 1 else ''}; "
                    "remove or repair such rows"
                )
            yield block


def _as_views(array: npt.NDArray[Any], *, where: str) -> npt.NDArray[np.floating]:
    """(N, W) or (V, N, W) -> (V, N, W), floating, without a copy."""
    if array.ndim not in (2, 3) or array.size == 0:
        raise DataError(
            f"{where}: shape (samples, width) or (views, samples, width) without an empty axis "
            f"expected, got {array.shape}; reshape it"
        )
    if array.dtype.kind != "f":
        raise DataError(f"{where}: floating numbers expected, got {array.dtype}; convert it")
    return array if array.ndim == 3 else array[None]


def _as_labels(
    array: npt.NDArray[Any], num_samples: int, num_classes: int, *, where: str
) -> npt.NDArray[np.int64]:
    if array.shape != (num_samples,):
        advice = "save both alike"
        if array.shape == (num_samples, num_classes):
            advice = "these look like one-hot rows: save labels.argmax(1)"
        elif array.shape == (num_classes,):
            advice = "the logits look transposed: save them as (samples, classes)"
        raise DataError(
            f"{where}: shape ({num_samples},), one for each row of logits, expected, "
            f"got {array.shape}; {advice}"
        )
    if array.dtype.kind not in "iu":
        raise DataError(f"{where}: integers expected, got {array.dtype}; save class ids")
    return check_labels(array.astype(np.int64), num_classes, where=where)


def _as_ids(
    array: npt.NDArray[Any], num_samples: int, *, where: str
) -> list[str] | npt.NDArray[np.int64]:
    if array.shape != (num_samples,) or array.dtype.kind not in "iuUS":
        raise DataError(
            f"{where}: {num_samples} strings or integers expected, got {array.dtype} "
            f"{array.shape}; save one for each row"
        )
    is_number = array.dtype.kind in "iu"
    ids = array.astype(np.int64) if is_number else as_strings(array, where=where)
    _, first, counts = np.unique(array, return_index=True, return_counts=True)
    if len(first) < num_samples:
        value = array[first[counts.argmax()]]
        rows = np.flatnonzero(array == value)
        raise DataError(
            f"{where}: every id once expected, got {ids[rows[0]]} in rows {rows[0]} and {rows[1]}; "
            "is a sample in the file twice?"
        )
    return ids


def as_strings(array: npt.NDArray[Any], *, where: str) -> list[str]:
    """Strings of an array (N,) of text or of UTF-8 bytes.

    Raises:
        DataError: numbers, another shape, or bytes that are no UTF-8.
    """
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise DataError(
            f"{where}: a list of strings expected, got {array.dtype} {array.shape}; save strings"
        )
    try:
        return [str(i, "utf-8") if isinstance(i, bytes) else str(i) for i in array.tolist()]
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: UTF-8 expected, got {error.reason}; save strings") from error


def _as_kinds(array: npt.NDArray[Any], num_views: int, *, where: str) -> tuple[str, ...]:
    kinds = as_strings(array, where=where)
    if len(kinds) != num_views:
        raise DataError(
            f"{where}: {num_views} kinds of view expected, as many as the logits have, "
            f"got {len(kinds)}; name each view"
        )
    check_views(kinds, where=where)
    return tuple(kinds)


def _check_are_logits(blocks: Iterable[npt.NDArray[np.floating]], *, where: str) -> None:
    """Raise if all rows of the blocks (B, K) are of a known other kind; it says of which.

    Raises:
        DataError: they are, or a block is not finite.
    """
    low, high, is_binary = np.inf, -np.inf, True
    low_sum, high_sum = np.inf, -np.inf
    for rows in blocks:
        if low < 0:
            continue  # one negative number settles it
        low, high = min(low, float(rows.min())), max(high, float(rows.max()))
        sums = rows.sum(axis=1, dtype=np.float64)
        low_sum, high_sum = min(low_sum, float(sums.min())), max(high_sum, float(sums.max()))
        is_binary = is_binary and bool(((rows == 0) | (rows == 1)).all())

    def sums_to(total: float) -> bool:
        error = max(abs(low_sum - total), abs(high_sum - total))
        return low >= 0 and error <= _SUM_TOLERANCE * total

    if is_binary and sums_to(1):
        found = "one-hot rows (a single 1 in each)"
    elif high <= 1 and sums_to(1):
        found = "probabilities (all within 0..1, every row sums to 1)"
    elif high <= 100 and sums_to(100):
        found = "percentages (all within 0..100, every row sums to 100)"
    else:
        return
    raise DataError(
        f"{where}: logits expected, got what looks like {found}; give the values before "
        "the softmax, or log-probabilities"
    )
