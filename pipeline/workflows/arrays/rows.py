"""The rows of a split, checked and brought into the cache's form.

V views, N samples, K classes, D features. Logits tell K by their width; of features alone it is the
number of class names, or one more than the largest label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache import CacheError, SplitArrays, check_labels, check_views
from marr_pipeline.errors import DataError, first_line
from marr_pipeline.labels import columns_of_labels, is_whole, shown
from marr_pipeline.workflows.arrays.joined import sources
from marr_pipeline.workflows.arrays.scale import as_logits, finite_blocks, lost_spread

MAY_BE_FEATURES = "if the columns are features, not logits, give --features"
"""What is said where labels and logits do not fit."""


@dataclass(frozen=True, kw_only=True)
class CheckedSplit:
    """What a file holds of a split.

    Attributes:
        arrays: in the cache's form.
        num_classes: K, by the logits, or of features alone by the names and labels.
        class_names: K of them, if the file or its labels name the classes.
        feature_names: D of them, or of the matrices, where they have some.
        scale: of the scores that logits were made of, see `as_logits`.
        notes: what needs a look.
    """

    arrays: SplitArrays
    num_classes: int
    class_names: list[str] | None
    feature_names: list[str] | None
    scale: str | None
    notes: list[str]

    @property
    def columns(self) -> list[str] | None:
        """The name of each of D features, if each has one."""
        features, names = self.arrays.features, self.feature_names
        return names if features is not None and len(names or ()) == features.shape[-1] else None


def named_scores(
    arrays: Mapping[str, npt.NDArray[Any]], scale: str | None
) -> tuple[Mapping[str, npt.NDArray[Any]], str | None]:
    """The arrays with `probabilities` for `logits` where these are missing, and their scale."""
    if "logits" in arrays or "probabilities" not in arrays:
        return arrays, scale
    return {**arrays, "logits": arrays["probabilities"]}, scale or "probabilities"


def split_arrays(
    arrays: Mapping[str, npt.NDArray[Any]],
    *,
    where: str,
    scale: str | None = None,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> CheckedSplit:
    """Check what a file holds of a split; large arrays are read block by block.

    Labels that are text are names of classes: those of the file, else those given, else their own,
    sorted.

    Args:
        arrays: `logits` (N, K) or (V, N, K), or as many `probabilities`, `features` (N, D) or
            (V, N, D), or both, `labels` (N,) and, if there, `ids` (N,), `views` (V,),
            `class_names` (K,) and `feature_names` (D,); others are left alone.
        where: how errors name the file.
        scale: of the logits, see `as_logits`.
        class_names: K of them, where they are known from elsewhere.
        num_classes: K, where it is known and there are no logits to tell it.

    Raises:
        DataError: an array is missing, misshapen or unfit; it names the row.
        CacheError: labels or views that no cache holds.
    """
    arrays, scale = named_scores(arrays, scale)
    kinds = [kind for kind in ("logits", "features") if kind in arrays]
    missing = [] if kinds else ["logits"]
    missing += [] if "labels" in arrays else ["labels"]
    if missing:
        raise DataError(
            f"{where}: arrays 'labels' and 'logits', 'features' or both expected, got "
            f"{', '.join(arrays) or 'none'}; save {' and '.join(missing)} under that name"
            + ("" if kinds else ", or give --features if a matrix is one of features")
        )
    views = {kind: as_views(arrays[kind], where=f"{where}: {kind}") for kind in kinds}
    kind, rows = next(iter(views.items()))
    logits, features, notes = views.get("logits"), views.get("features"), list[str]()
    # Before probabilities are told from logits, since a transposed matrix is neither.
    labels = _one_a_row(arrays["labels"], rows, kind=kind, where=f"{where}: labels")
    if logits is not None:
        logits, notes = as_logits(logits, scale=scale, where=f"{where}: logits")
        num_classes = logits.shape[2]
    names = None
    if "class_names" in arrays:
        names = as_strings(arrays["class_names"], where=f"{where}: class_names")
    known = names or class_names
    if labels.dtype.kind in "US":
        labels, names, told = _of_names(
            labels,
            (len(known) if known else None) if logits is None else num_classes,
            known,
            where=f"{where}: labels",
            hint="" if logits is None else f"; {MAY_BE_FEATURES}",
        )
        notes = [*notes, *told]
    if num_classes is None:
        num_classes = len(names or known or ()) or _counted(labels, where=f"{where}: labels")
    try:
        labels = check_labels(labels.astype(np.int64), num_classes, where=f"{where}: labels")
    except CacheError as error:
        counts_from_one = labels.min() == 1 and labels.max() == num_classes
        if logits is None or counts_from_one or labels.max() < num_classes:
            raise
        raise CacheError(f"{error} {MAY_BE_FEATURES.capitalize()}") from error
    num_views, num_samples = rows.shape[:2]
    if features is not None:
        if features.shape[:2] != (num_views, num_samples):
            raise DataError(
                f"{where}: features of {num_views} views and {num_samples} rows, as the logits "
                f"have, expected, got {features.shape[0]} and {features.shape[1]}; save both alike"
            )
        notes = [*notes, *_check_features(features, where=where)]
    feature_names = None
    if "feature_names" in arrays:
        feature_names = as_strings(arrays["feature_names"], where=f"{where}: feature_names")
        notes.append(
            f"{where}: taken for features: {shown(feature_names)} ({len(feature_names):,})"
        )
    stored = SplitArrays(
        logits=logits,
        labels=labels,
        features=features,
        ids=_as_ids(arrays["ids"], num_samples, where=f"{where}: ids") if "ids" in arrays else None,
        views=_as_kinds(arrays["views"], num_views, where=f"{where}: views")
        if "views" in arrays
        else None,
    )
    return CheckedSplit(
        arrays=stored,
        num_classes=num_classes,
        class_names=names,
        feature_names=feature_names,
        scale=scale,
        notes=notes,
    )


def _check_features(features: npt.NDArray[np.floating], *, where: str) -> list[str]:
    """Warnings of features (V, N, D) whose spread is lost as they are stored."""
    notes: list[str] = []
    for source, part in sources(features, where=where):
        for _ in finite_blocks(part, where=f"{source}: features"):
            pass  # reading it is the check
        notes += lost_spread(part, where=f"{source}: features")
    return notes


def _counted(labels: npt.NDArray[Any], *, where: str) -> int:
    """K of labels (N,) that nothing else tells: they are 0..K-1, the last among them."""
    low, high = int(labels.min()), int(labels.max())
    if low != 0 or high >= len(labels):
        advice = "name the classes in class_names if some have no rows"
        if low == 1:
            advice = f"subtract 1 if they count from 1, or {advice}"
        raise DataError(
            f"{where}: class ids 0..K-1 of fewer classes than rows expected, as features tell no "
            f"K, got {low}..{high} in {len(labels):,} rows; {advice}"
        )
    return high + 1


def unlabelled_rows(
    arrays: Mapping[str, npt.NDArray[Any]], *, kind: str, where: str, scale: str | None = None
) -> tuple[npt.NDArray[np.floating], list[str]]:
    """Logits (V, N, K) or features (V, N, D) of rows that may have no labels, and what of them
    needs a look.

    Args:
        arrays: as for `split_arrays`.
        kind: `logits` or `features`.
        where: how errors name the file.
        scale: of logits, see `as_logits`.

    Raises:
        DataError: there are none, or they are unfit; it names the row.
    """
    if kind not in arrays:
        axes = "(N, K)" if kind == "logits" else "(N, D)"
        raise DataError(
            f"{where}: floating-point '{kind}' {axes} expected, got {', '.join(arrays) or 'none'}; "
            f"save {kind} under that name"
        )
    rows = as_views(arrays[kind], where=f"{where}: {kind}")
    if kind == "logits":
        return as_logits(rows, scale=scale, where=f"{where}: logits")
    return rows, _check_features(rows, where=where)


def passed_on(
    arrays: Mapping[str, npt.NDArray[Any]], logits: npt.NDArray[np.floating], *, where: str
) -> dict[str, npt.NDArray[Any]]:
    """`labels` and `ids` (N,) of rows of logits (V, N, K), where they have some.

    They are only passed on: a label may be of no class, as -1 often is of none.

    Raises:
        DataError: not one for each row, or numbers that are no labels.
    """
    found = {}
    if "labels" in arrays:
        found["labels"] = _one_a_row(arrays["labels"], logits, where=f"{where}: labels")
    if "ids" in arrays:
        found["ids"] = arrays["ids"]
        if found["ids"].shape != logits.shape[1:2]:
            raise DataError(
                f"{where}: ids: shape {logits.shape[1:2]}, one for each row of logits, expected, "
                f"got {found['ids'].shape}; save both alike"
            )
    return found


def as_views(array: npt.NDArray[Any], *, where: str) -> npt.NDArray[np.floating]:
    """(N,), (N, W) or (V, N, W) -> (V, N, W), floating, without a copy; (N,) has W = 1.

    Raises:
        DataError: another shape, an empty axis, or no floating numbers.
    """
    if array.ndim == 1 and array.size:
        array = array[:, None]
    if array.ndim not in (2, 3) or array.size == 0:
        raise DataError(
            f"{where}: shape (samples, width) or (views, samples, width) without an empty axis "
            f"expected, got {array.shape}; reshape it"
        )
    if array.dtype.kind != "f":
        raise DataError(f"{where}: floating numbers expected, got {array.dtype}; convert it")
    return array if array.ndim == 3 else array[None]


def _one_a_row(
    array: npt.NDArray[Any], rows: npt.NDArray[np.floating], *, kind: str = "logits", where: str
) -> npt.NDArray[Any]:
    """Labels (N,): integers or text, one for each row of logits or features (V, N, W); whole
    floats, booleans and a single column (N, 1) are read as such.
    """
    _, num_samples, width = rows.shape
    if array.shape == (num_samples, 1):
        array = array[:, 0]
    if array.dtype.kind == "b" or is_whole(array):
        array = array.astype(np.int64)
    if array.shape != (num_samples,):
        advice = "save both alike"
        if array.shape == (num_samples, width):
            advice = "these look like one-hot rows: save labels.argmax(1)"
        elif array.shape == (width,):
            axes = "(samples, classes)" if kind == "logits" else "(samples, features)"
            advice = f"the {kind} look transposed: save them as {axes}"
        raise DataError(
            f"{where}: shape ({num_samples},), one for each row of {kind}, expected, "
            f"got {array.shape}; {advice}"
        )
    if array.dtype.kind not in "iuUS":
        raise DataError(f"{where}: integers expected, got {array.dtype}; save class ids")
    return array


def _of_names(
    labels: npt.NDArray[Any],
    num_classes: int | None,
    known: Sequence[str] | None,
    *,
    where: str,
    hint: str,
) -> tuple[npt.NDArray[np.int64], list[str] | None, list[str]]:
    """Class ids (N,) of labels that are text, the K names, and a note where they were sorted.

    Where `num_classes` is None the classes are those that have rows.
    """
    texts = as_strings(labels, where=where)
    # Numbers that an int64 can be: sorted as text, 10 would come before 2.
    if known is None and all(text.isdecimal() and len(text) < 19 for text in texts):
        return np.array([int(text) for text in texts]), None, []
    ids, found = columns_of_labels(
        np.array(texts),
        len(set(texts)) if num_classes is None else num_classes,
        classes=known,
        where=where,
        remedy=f"name the columns as the labels, or save class_names{hint}",
    )
    names = [str(name) for name in found.tolist()]
    if known is not None:
        return ids, names, []
    order = [f"{index} {name}" for index, name in enumerate(names)]
    return ids, names, [f"{where}: text, sorted into classes: {shown(order)}"]


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
        DataError: numbers, another shape, bytes that are no UTF-8, or text that no file can hold.
    """
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise DataError(
            f"{where}: a list of strings expected, got {array.dtype} {array.shape}; save strings"
        )
    try:
        texts = [str(i, "utf-8") if isinstance(i, bytes) else str(i) for i in array.tolist()]
        "".join(texts).encode()
    except UnicodeError as error:
        raise DataError(
            f"{where}: UTF-8 expected, got {first_line(error)}; save strings"
        ) from error
    if any("\0" in text for text in texts):
        raise DataError(f"{where}: text without the character 0 expected, got some; leave it out")
    return texts


def _as_kinds(array: npt.NDArray[Any], num_views: int, *, where: str) -> tuple[str, ...]:
    kinds = as_strings(array, where=where)
    if len(kinds) != num_views:
        raise DataError(
            f"{where}: {num_views} kinds of view expected, as many as the logits have, "
            f"got {len(kinds)}; name each view"
        )
    check_views(kinds, where=where)
    return tuple(kinds)
