"""Arrays of others, checked and brought into the cache's form.

V views, N samples, K classes, D features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.blocks import row_ranges
from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.finite import first_not_finite
from marr_pipeline.cache.logit_evidence import LogitEvidence
from marr_pipeline.cache.plan import check_views

_STORED_AS_IS = (np.float16, np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitArrays:
    """The rows of one split, in memory or mapped from a file.

    Attributes:
        logits: (V, N, K) floating, converted to the cache's type block by block when written.
        labels: (N,) int64, class ids.
        features: (V, N, D) floating, or None.
        ids: N strings or (N,) int64, or None.
        views: V kinds of view; None means all "augmented", as views of unknown origin are.
    """

    logits: npt.NDArray[np.floating]
    labels: npt.NDArray[np.int64]
    features: npt.NDArray[np.floating] | None = None
    ids: list[str] | npt.NDArray[np.int64] | None = None
    views: tuple[str, ...] | None = None


def split_arrays(arrays: Mapping[str, npt.NDArray[Any]], *, where: str) -> SplitArrays:
    """Check what a file holds of a split; large arrays are read block by block.

    Log-probabilities are logits too; probabilities are not.

    Args:
        arrays: `logits` (N, K) or (V, N, K), `labels` (N,) and, if there, `features` (N, D) or
            (V, N, D), `ids` (N,) and `views` (V,); others are left alone.
        where: how errors name the file.

    Raises:
        CacheError: an array is missing, misshapen or unfit; it names the row.
    """
    missing = [key for key in ("logits", "labels") if key not in arrays]
    if missing:
        raise CacheError(
            f"{where}: arrays 'logits' and 'labels' expected, got {', '.join(arrays) or 'none'}; "
            f"save {' and '.join(missing)} under that name"
        )
    logits = _as_views(arrays["logits"], where=f"{where}: logits")
    num_views, num_samples, num_classes = logits.shape
    if num_classes < 2:
        raise CacheError(
            f"{where}: logits: at least 2 classes expected, got 1; check the axes, and give one "
            "number for each class, not the predicted class"
        )
    labels = _as_labels(arrays["labels"], num_samples, num_classes, where=f"{where}: labels")
    evidence = LogitEvidence(where=f"{where}: logits")
    for block in finite_blocks(logits, where=f"{where}: logits"):
        evidence.add(block)
    evidence.refuse_what_is_no_logit()
    features = None
    if "features" in arrays:
        features = _as_views(arrays["features"], where=f"{where}: features")
        if features.shape[:2] != (num_views, num_samples):
            raise CacheError(
                f"{where}: features of {num_views} views and {num_samples} rows, as the logits "
                f"have, expected, got {features.shape[0]} and {features.shape[1]}; save both alike"
            )
        for _ in finite_blocks(features, where=f"{where}: features"):
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


def finite_blocks(
    values: npt.NDArray[np.floating], *, where: str
) -> Iterator[npt.NDArray[np.floating]]:
    """Blocks (B, W) of rows (V, N, W), as they would be stored: float32 or float16, all finite.

    Raises:
        CacheError: a number is not finite in the stored type; it names the row.
    """
    stored = values.dtype if values.dtype in _STORED_AS_IS else np.dtype(np.float32)
    for view, rows in enumerate(values):
        for start, stop in row_ranges(len(rows), rows[0].nbytes):
            with np.errstate(over="ignore"):  # what overflows is refused here
                block = rows[start:stop].astype(stored, copy=False)
            place = first_not_finite(block)
            if place is not None:
                row, column = place
                raise CacheError(
                    f"{where}: finite {stored.name} expected, got {block[row, column]} in row "
                    f"{start + row}{f' of view {view}' if len(values) > 1 else ''}; "
                    "remove or repair such rows"
                )
            yield block


def _as_views(array: npt.NDArray[Any], *, where: str) -> npt.NDArray[np.floating]:
    """(N, W) or (V, N, W) -> (V, N, W), floating, without a copy."""
    if array.ndim not in (2, 3) or array.size == 0:
        raise CacheError(
            f"{where}: shape (samples, width) or (views, samples, width) without an empty axis "
            f"expected, got {array.shape}; reshape it"
        )
    if array.dtype.kind != "f":
        raise CacheError(f"{where}: floating numbers expected, got {array.dtype}; convert it")
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
        raise CacheError(
            f"{where}: shape ({num_samples},), one for each row of logits, expected, "
            f"got {array.shape}; {advice}"
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
        counts_from_one = labels.min() == 1 and labels.max() == num_classes
        advice = (
            "they seem to count from 1: subtract 1"
            if counts_from_one
            else "do logits and labels use the same class list?"
        )
        raise CacheError(
            f"{where}: class ids in 0..{num_classes - 1} expected, got {labels[row]} in row {row}; "
            f"{advice}"
        )
    return labels


def _as_ids(
    array: npt.NDArray[Any], num_samples: int, *, where: str
) -> list[str] | npt.NDArray[np.int64]:
    if array.shape != (num_samples,) or array.dtype.kind not in "iuUS":
        raise CacheError(
            f"{where}: {num_samples} strings or integers expected, got {array.dtype} "
            f"{array.shape}; save one for each row"
        )
    is_number = array.dtype.kind in "iu"
    ids = array.astype(np.int64) if is_number else as_strings(array, where=where)
    _, first, counts = np.unique(array, return_index=True, return_counts=True)
    if len(first) < num_samples:
        value = array[first[counts.argmax()]]
        rows = np.flatnonzero(array == value)
        raise CacheError(
            f"{where}: every id once expected, got {ids[rows[0]]} in rows {rows[0]} and {rows[1]}; "
            "is a sample in the file twice?"
        )
    return ids


def as_strings(array: npt.NDArray[Any], *, where: str) -> list[str]:
    """Strings of an array (N,) of text or of UTF-8 bytes.

    Raises:
        CacheError: numbers, another shape, or bytes that are no UTF-8.
    """
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise CacheError(
            f"{where}: a list of strings expected, got {array.dtype} {array.shape}; save strings"
        )
    try:
        return [str(i, "utf-8") if isinstance(i, bytes) else str(i) for i in array.tolist()]
    except UnicodeDecodeError as error:
        raise CacheError(f"{where}: UTF-8 expected, got {error.reason}; save strings") from error


def _as_kinds(array: npt.NDArray[Any], num_views: int, *, where: str) -> tuple[str, ...]:
    kinds = as_strings(array, where=where)
    if len(kinds) != num_views:
        raise CacheError(
            f"{where}: {num_views} kinds of view expected, as many as the logits have, "
            f"got {len(kinds)}; name each view"
        )
    check_views(kinds, where=where)
    return tuple(kinds)
