"""Which column of the scores a label means: one rule for the estimator, for arrays and for tables.

N samples, K columns, one for each class.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError

Array = npt.NDArray[Any]

_SHOWN = 5


def columns_of_labels(
    labels: Array,
    num_classes: int,
    *,
    columns: Sequence[Hashable] | None = None,
    classes: Sequence[Hashable] | None = None,
    where: str,
    remedy: str,
) -> tuple[npt.NDArray[np.int64], Array]:
    """Column (N,) of every sample, and the label (K,) of every column.

    Labels are those that `classes` says; else names of columns; else integers 0..K-1, which are
    positions, also where a class is absent; else, sorted, the labels of the columns in their order,
    if there are just K of them.

    Args:
        labels: (N,) numbers or text.
        num_classes: K.
        columns: names (K,) of the columns, where they have some.
        classes: label (K,) of every column, where it is known.
        where: how errors name the labels.
        remedy: how another mapping is said.

    Raises:
        DataError: labels that no rule maps to columns.
    """
    found, inverse = np.unique(labels, return_inverse=True)
    if classes is not None:
        return _places(found, classes, where=where, remedy=remedy)[inverse], np.asarray(
            list(classes)
        )
    if columns is not None and set(found.tolist()) <= set(columns):
        return _places(found, columns, where=where, remedy=remedy)[inverse], np.asarray(
            list(columns)
        )
    if is_whole(labels) and found[0] >= 0 and found[-1] < num_classes:
        return labels.astype(np.int64), np.arange(num_classes).astype(labels.dtype)
    if len(found) == num_classes:
        return inverse.astype(np.int64), found
    raise DataError(
        f"{where}: names of the columns, integers 0..{num_classes - 1} or just {num_classes} "
        f"different labels expected, as there are {num_classes} columns, got {len(found)} "
        f"({shown(found.tolist())}); {remedy}"
    )


def is_whole(labels: Array) -> bool:
    """Whether all of them are whole numbers, in whatever type; floats as far as they count by 1."""
    kind = labels.dtype.kind
    if kind != "f":
        return kind in "iu"
    most = 2 / np.finfo(labels.dtype).eps
    return bool(((labels == np.floor(labels)) & (np.abs(labels) <= most)).all())


def shown(values: Sequence[Any]) -> str:
    """The first of them, for an error."""
    return ", ".join(map(str, values[:_SHOWN])) + (", ..." if len(values) > _SHOWN else "")


def _places(
    found: Array, known: Sequence[Hashable], *, where: str, remedy: str
) -> npt.NDArray[np.int64]:
    """Place of every label among those that are known."""
    place = {label: index for index, label in enumerate(known)}
    unknown = [label for label in found.tolist() if label not in place]
    if unknown:
        raise DataError(
            f"{where}: labels out of {shown(known)} expected, got {shown(unknown)}; {remedy}"
        )
    return np.asarray([place[label] for label in found.tolist()], dtype=np.int64)
