"""What the estimator is given, checked and brought into the form that a fit takes.

N samples, K classes, V views, D features. Arrays, tensors of any layout and precision, data frames
and, for a number for each class, a pandas Series or a mapping.
"""

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.labels import columns_of_labels, shown
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.workflows.distribution import class_shares

Array = npt.NDArray[Any]


class RectifierWarning(UserWarning):
    """A fit that stands but needs a look: a step limit, no minimum, classes without samples."""


LARGEST = 1e18
"""Of logits and features: its square is still a number in float32. Networks give a few hundred."""
_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


def plain(values: Any, name: str) -> Any:
    """What is no tensor as it is, and a tensor as an array.

    Raises:
        DataError: a masked array, or one of no numbers.
    """
    if isinstance(values, Tensor):
        return _array(values, name)
    if issparse(values):
        raise DataError(f"{name}: a dense array expected, got a sparse one; use .toarray()")
    if np.ma.isMaskedArray(values):
        raise DataError(
            f"{name}: an array without a mask expected, got a masked one; fill it, or leave out "
            "the samples that are masked"
        )
    array = np.asarray(values)
    is_text = array.dtype.kind in "US" or (
        array.dtype.kind == "O" and any(isinstance(each, str | bytes) for each in array.flat)
    )
    if is_text or array.dtype.kind in "MmV":
        kind = "text" if is_text else array.dtype
        raise DataError(f"{name}: numbers expected, got {kind}; convert it first")
    return values


def _array(values: Tensor, name: str) -> Array:
    """A tensor as an array; precisions that NumPy lacks, as bfloat16, become float32."""
    try:
        dense = values.to_dense()
        is_other_float = dense.is_floating_point() and dense.dtype not in _NUMPY_FLOATS
        array: Array = (dense.float() if is_other_float else dense).numpy(force=True)
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"{name}: a tensor of numbers expected, got {values.dtype} on {values.device} in "
            f"layout {values.layout}; convert it first"
        ) from error
    return array


def numbers_of(values: Any, name: str) -> Array:
    """Finite floating-point numbers, float32 where they are, of any shape."""
    checked: Array = check_array(
        plain(values, name),
        dtype=[np.float64, np.float32],
        allow_nd=True,
        ensure_2d=False,
        input_name=name,
    )
    return bounded(np.ascontiguousarray(checked), name)


def bounded(numbers: Array, name: str) -> Array:
    """The numbers themselves.

    Raises:
        DataError: one of them is beyond `LARGEST`.
    """
    largest = max(numbers.max(initial=0), -numbers.min(initial=0))
    if largest > LARGEST:
        raise DataError(
            f"{name}: numbers up to {LARGEST:g} expected, got {largest:g}, whose square is too "
            "large for a fit; are these logits?"
        )
    return numbers


def tensor_of(array: Array) -> Tensor:
    """The same memory, which nothing writes to; of a read-only array, too, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def numbers_of_classes(values: Any, name: str, known: Sequence[list[Hashable] | None]) -> Array:
    """A number (K,) float64 for each column.

    Args:
        values: in the order of the columns, or by label: a pandas Series or a mapping.
        name: of the argument, for errors.
        known: labels of the columns, and names of the columns where they have some.

    Raises:
        DataError: the labels are others, or what is given are no numbers.
    """
    is_series = hasattr(values, "loc")
    if not is_series and not isinstance(values, Mapping):
        return np.asarray(plain(values, name), dtype=np.float64)
    given = list(values.index) if is_series else list(values)
    array = plain(values.to_numpy() if is_series else list(values.values()), name)
    numbers = np.asarray(array, dtype=np.float64)
    for labels in known:
        if labels is not None and len(given) == len(labels) and set(given) == set(labels):
            return numbers[[given.index(label) for label in labels]]
    raise DataError(
        f"{name}: a number for each of {shown(known[0] or [])} expected, got numbers for "
        f"{shown(given)}; name the same, or give an array in the order of X's columns"
    )


def shares_of(
    target_prior: Any, known: tuple[list[Hashable], list[Hashable] | None], rectifier: Rectifier
) -> Array:
    """The class shares (K,) float64 of a target prior.

    Args:
        target_prior: a word or a file as `--target-prior` takes them, or what `numbers_of_classes`
            takes.
        known: labels (K,) of the columns, and names of the columns where they have some.
        rectifier: whose class counts of training some words are about.

    Raises:
        DataError: there are no such shares.
    """
    if not isinstance(target_prior, str | Path):
        target_prior = numbers_of_classes(target_prior, "target_prior", known)
    counts = rectifier.metadata.get("class_counts")
    return class_shares(
        target_prior,
        None if counts is None else np.asarray(counts),
        [str(label) for label in known[0]],
        option="target_prior",
        num_classes=rectifier.num_classes,
    )


def whole_counts(counts: Array) -> npt.NDArray[np.int64]:
    """The `class_counts` themselves.

    Raises:
        DataError: one of them has a fraction, or is beyond what int64 and float64 both have.
    """
    is_whole = (counts == np.floor(counts)) & (np.abs(counts) <= 2**53)
    if not is_whole.all():
        raise DataError(
            f"class_counts: whole numbers of samples expected, got {counts[~is_whole][0]:g}; "
            "shares may be given as prior_counts"
        )
    return counts.astype(np.int64)


def features_of(features: Any) -> Tensor | None:
    """(N, D) or (V, N, D), as they are.

    Raises:
        DataError: any other shape.
    """
    if features is None:
        return None
    array = tensor_of(numbers_of(features, "features"))
    if array.ndim not in (2, 3):
        raise DataError(
            f"features: shape (N, D) or (V, N, D) expected, got {tuple(array.shape)}; reshape them"
        )
    return array


def feature_views(features: Any) -> Tensor | None:
    """(V, N, D) of what `features_of` takes."""
    array = features_of(features)
    return array if array is None or array.ndim == 3 else array[None]


def columns_of(X: Any) -> list[Hashable] | None:
    """Names of a data frame's columns; None for an array."""
    return list(X.columns) if hasattr(X, "columns") else None


def in_class_order(X: Any, classes: Array) -> Any:
    """X, as an array where its columns are named as the classes (K,).

    Raises:
        DataError: they are, in another order; or X are scores of the first of two classes.
    """
    labels = classes.tolist()
    names = columns_of(X) or [getattr(X, "name", None)]
    if names == labels:
        return X.to_numpy()
    if len(names) == len(labels) and set(names) == set(labels):
        raise DataError(
            f"X: columns in the order of the classes, {shown(labels)}, expected, got "
            f"{shown(names)}; give X[list(rectifier.classes_)]"
        )
    if len(labels) == 2 and names == labels[:1] and isinstance(names[0], str):
        raise DataError(
            f"X: scores of the second class, {labels[1]}, expected, got those of {labels[0]}; give "
            "a column for each class, or the scores of the second"
        )
    return X


def labels_of(
    y: Any, num_classes: int, columns: list[Hashable] | None, classes: Sequence[Hashable] | None
) -> tuple[npt.NDArray[np.int64], Array]:
    """Column (N,) of every sample, and the label (K,) of every column, by `columns_of_labels`.

    Raises:
        DataError: labels that no rule maps to columns, or that their precision may have changed.
    """
    if np.ma.isMaskedArray(y):
        raise DataError("y: labels without a mask expected, got a masked array; leave samples out")
    exact = math.inf
    if isinstance(y, Tensor):
        if y.is_floating_point():
            exact = 2 / torch.finfo(y.dtype).eps
        y = _array(y, "y")
    labels = column_or_1d(y, warn=True)
    if exact < num_classes:
        raise DataError(
            f"y: labels as integers expected, got floating-point ones that are exact up to "
            f"{exact:.0f}, of {num_classes} classes; keep them in int64"
        )
    check_classification_targets(labels)
    if classes is not None and len(set(classes)) != num_classes:
        raise DataError(
            f"classes: {num_classes} different labels expected, one a column of X, got "
            f"{len(classes)} with {len(set(classes))} different ones"
        )
    return columns_of_labels(
        labels,
        num_classes,
        columns=columns,
        classes=classes,
        where="y",
        remedy="name the columns' labels with classes=[...]",
    )


def in_kind_of(X: Any, values: Tensor, classes: Array) -> Any:
    """(N, K) as the array, tensor or data frame that X is, of numbers float64 in its precision."""
    is_number = values.dtype is not torch.bool
    if isinstance(X, Tensor):
        dtype = X.dtype if X.dtype in (torch.float32, torch.float64) else torch.float32
        return values.to(device=X.device, dtype=dtype if is_number else None)
    array = values.numpy()
    if not hasattr(X, "columns"):
        is_single = is_number and getattr(X, "dtype", None) == np.float32
        return array.astype(np.float32) if is_single else array
    if hasattr(X, "index"):
        return type(X)(array, index=X.index, columns=classes)
    return type(X)(array, schema=[str(label) for label in classes])
