"""`MarginRectifier`: phase two as a scikit-learn estimator, on logits in memory.

N samples, K classes, V views, D features. The columns of X are the classes, so that X is what a
classifier's `decision_function` or the last layer of a network gives.
"""

import json
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.rectifier import Rectifier, fold_
from marr_pipeline.rectify.rectifier_file import load_rectifier, save_rectifier
from marr_pipeline.rectify.settings import Center, Optimizer

Array = npt.NDArray[Any]

LARGEST = 1e18
"""Of logits and features: its square is still a number in float32. Networks give a few hundred."""


class RectifierWarning(UserWarning):
    """A fit that stands but needs a look: a step limit, no minimum, classes without images."""


class MarginRectifier(ClassifierMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Logits of a classifier trained on imbalanced data to logits for balanced classes.

    `MarginRectifier()` fits what `pipeline rectify` without options fits. Parameters that are None
    take the value that the preset has for the method.

    Args:
        method: one of `marr_pipeline.names.METHODS`.
        preset: `default`, `paper`, `official`, or another one that the method has.
        gamma: exponent of the class weights U_j ~ n_j^-gamma (paper, equation 12).
        l2: strength of the ridge, in loss units.
        center: where the ridge pulls to.
        optimizer: `lbfgs`, `newton` or `sgd`.
        tolerance: on the bound of F - F*, in loss units.
        seed: of `sgd`'s batches.

    Attributes:
        classes_: (K,) label of every column.
        n_features_in_: K.
        result_: how the fit ended, with its certificate.
        rectifier_: scale (K,) and shift (K,), and whatever the method has beside them.
    """

    def __init__(
        self,
        method: str = "marr",
        preset: str = "default",
        *,
        gamma: float | None = None,
        l2: float | None = None,
        center: Center | None = None,
        optimizer: Optimizer | None = None,
        tolerance: float = 1e-6,
        seed: int = 0,
    ) -> None:
        self.method = method
        self.preset = preset
        self.gamma = gamma
        self.l2 = l2
        self.center = center
        self.optimizer = optimizer
        self.tolerance = tolerance
        self.seed = seed

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        classes: Sequence[Hashable] | None = None,
        weight_norm: Any = None,
        class_counts: Any = None,
        prior_counts: Any = None,
        features: Any = None,
    ) -> Self:
        """Fit on the logits of labelled samples.

        Args:
            X: logits (N, K), or (V, N, K) of several views of the samples: array, tensor or data
                frame. Scores (N,) or (N, 1) of a binary classifier stand for the columns [0, z].
            y: labels (N,). Names of X's columns, or integers 0..K-1 that are its positions, also
                where a class is absent; others as `classes` says, or sorted where there are just K.
            classes: label of every column, (K,).
            weight_norm: norms (K,) of the rows of the head's weight; without them every norm is 1,
                and `marr` is vector scaling. This and the next two are in the order of X's
                columns, or a pandas Series or mapping from labels or names of columns.
            class_counts: (K,) images the classifier was trained on; without them those of y.
            prior_counts: (K,) that its logits stand for, where they differ from `class_counts`;
                shares do as well.
            features: (N, D), or (V, N, D), for methods that need them.

        Raises:
            DataError: X, y and the rest contradict each other.
            ConfigError: a parameter is out of range.
            FitError: the loss ran out of finite numbers.
        """
        settings = preset_settings(self.preset, method=self.method, **self._own_settings())
        settings = replace(settings, fit_split="train")  # whatever rows X are
        logits = self._logits(X, reset=True)
        num_classes = logits.shape[-1]
        columns = _columns_of(X)
        labels, self.classes_ = _labels_of(y, num_classes, columns, classes)
        known = (self.classes_.tolist(), columns)
        counts = np.bincount(labels, minlength=num_classes)
        if class_counts is not None:
            counts = _whole(_of_classes(class_counts, "class_counts", known), "class_counts")
        prior = counts.astype(np.float64)
        if prior_counts is not None:
            prior = _of_classes(prior_counts, "prior_counts", known)
        norm = np.ones(num_classes)
        if weight_norm is not None:
            norm = _of_classes(weight_norm, "weight_norm", known)
        self.result_: FitResult = fit_rectifier(
            FitInputs(
                logits=logits if logits.ndim == 3 else logits[None],
                labels=torch.from_numpy(labels),
                weight_norm=torch.from_numpy(norm),
                class_counts=torch.from_numpy(counts),
                prior_counts=torch.from_numpy(prior),
                features=_feature_views(features),
            ),
            settings,
        )
        self.rectifier_ = _with_classes(self.result_.rectifier, self.classes_)
        for message in self.result_.warnings:
            warnings.warn(message, RectifierWarning, stacklevel=2)
        return self

    def transform(self, X: Any, features: Any = None) -> Any:
        """Rectified logits (N, K), in the kind of array that X is.

        Args:
            X: logits (N, K), or scores as `fit` takes them.
            features: (N, D), for methods that need them.

        Raises:
            DataError: X is of another number of classes, or features are missing.
        """
        rectified = self._rectified(X, features)
        return _in_kind_of(X, rectified, self.classes_)

    def predict(self, X: Any, features: Any = None) -> Any:
        """Labels (N,) of the largest rectified logits; numbers as a tensor where X is one.

        Args:
            X: as `transform` takes it.
            features: (N, D), for methods that need them.
        """
        columns = self._rectified(X, features).argmax(dim=-1).numpy()
        chosen = self.classes_[columns]
        is_tensor = isinstance(X, Tensor) and chosen.dtype.kind in "iufb"
        return torch.from_numpy(chosen).to(X.device) if is_tensor else chosen

    def predict_proba(self, X: Any, features: Any = None) -> Any:
        """Softmax (N, K) of the rectified logits, in the kind of array X is.

        For classes that are equally common where the method corrects the prior, as `marr` does;
        `softmax`, `temperature` and `vector-scaling` keep that of their rows.

        Args:
            X: as `transform` takes it.
            features: (N, D), for methods that need them.
        """
        probabilities = torch.softmax(self._rectified(X, features), dim=-1)
        return _in_kind_of(X, probabilities, self.classes_)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names (K,) of the columns of `transform`: the classes."""
        check_is_fitted(self)
        return np.asarray([str(label) for label in self.classes_], dtype=object)

    def fold_(self, linear: torch.nn.Linear) -> torch.nn.Linear:
        """Put the rectifier into the head whose logits it was fitted on, in place."""
        check_is_fitted(self)
        return fold_(linear, self.rectifier_)

    def save(self, path: str | Path) -> None:
        """Write the rectifier as `pipeline rectify -o` does, with the labels of its columns."""
        check_is_fitted(self)
        save_rectifier(self.rectifier_, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A fitted estimator of a rectifier file, by `save` or by `pipeline rectify -o`.

        Raises:
            DataError: not a rectifier, of a newer version, or damaged.
        """
        rectifier = load_rectifier(Path(path))
        parameters = cls._get_param_names()
        stored = {name: value for name, value in rectifier.metadata.items() if name in parameters}
        made = cls(**stored)
        made.rectifier_ = rectifier
        labels = rectifier.metadata.get("classes", list(range(rectifier.num_classes)))
        made.classes_ = np.asarray(labels)
        made.n_features_in_ = rectifier.num_classes
        return made

    def _own_settings(self) -> dict[str, Any]:
        """Parameters that were given, beside method and preset."""
        own = {name: getattr(self, name) for name in self._get_param_names()}
        return {
            # NumPy's, as a grid search gives them, are no numbers for JSON.
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in own.items()
            if value is not None and name not in ("method", "preset")
        }

    def _rectified(self, X: Any, features: Any) -> Tensor:
        """(N, K) float64."""
        check_is_fitted(self)
        logits = self._logits(X, reset=False)
        known = None if features is None else _tensor(_numbers(features, "features"))
        return self.rectifier_.apply(logits, known)

    def _logits(self, X: Any, *, reset: bool) -> Tensor:
        """(N, K) or (V, N, K) on the CPU; scores of a binary classifier as two columns."""
        given = _plain(X, "X")
        shape = np.asarray(given).shape
        if len(shape) == 3 and reset:
            views = _numbers(given, "X")
            self.n_features_in_ = shape[-1]
            return _tensor(views)
        is_binary = len(shape) == 1 or shape[1:] == (1,)
        if is_binary and (reset or self.n_features_in_ == 2):
            scores = _numbers(given, "X").reshape(-1)
            given = np.stack([np.zeros_like(scores), scores], axis=1)
        checked = validate_data(self, given, reset=reset, dtype=[np.float64, np.float32])
        return _tensor(_bounded(np.ascontiguousarray(checked), "X"))


def _plain(values: Any, name: str) -> Any:
    """What is no tensor as it is, and a tensor as an array.

    Raises:
        DataError: a masked array, or one of no numbers.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype is torch.bfloat16 else values).numpy()
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
        shown = "text" if is_text else array.dtype
        raise DataError(f"{name}: numbers expected, got {shown}; convert it first")
    return values


def _numbers(values: Any, name: str) -> Array:
    """Finite floating-point numbers, float32 where they are, of any shape."""
    checked: Array = check_array(
        _plain(values, name),
        dtype=[np.float64, np.float32],
        allow_nd=True,
        ensure_2d=False,
        input_name=name,
    )
    return _bounded(np.ascontiguousarray(checked), name)


def _bounded(numbers: Array, name: str) -> Array:
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


def _tensor(array: Array) -> Tensor:
    """The same memory, which nothing writes to; of a read-only array, too, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def _of_classes(values: Any, name: str, known: Sequence[list[Hashable] | None]) -> Array:
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
        return np.asarray(_plain(values, name), dtype=np.float64)
    given = list(values.index) if is_series else list(values)
    array = _plain(values.to_numpy() if is_series else list(values.values()), name)
    numbers = np.asarray(array, dtype=np.float64)
    for labels in known:
        if labels is not None and len(given) == len(labels) and set(given) == set(labels):
            return numbers[[given.index(label) for label in labels]]
    raise DataError(
        f"{name}: a number for each of {_shown(known[0] or [])} expected, got numbers for "
        f"{_shown(given)}; name the same, or give an array in the order of X's columns"
    )


def _shown(labels: Sequence[Hashable]) -> str:
    return ", ".join(str(label) for label in labels[:5]) + (", ..." if len(labels) > 5 else "")


def _whole(counts: Array, name: str) -> npt.NDArray[np.int64]:
    is_whole = (counts == np.floor(counts)) & (np.abs(counts) <= 2**53)
    if not is_whole.all():
        raise DataError(
            f"{name}: whole numbers of images expected, got {counts[~is_whole][0]:g}; shares may "
            "be given as prior_counts"
        )
    return counts.astype(np.int64)


def _feature_views(features: Any) -> Tensor | None:
    """(V, N, D) of (N, D) or (V, N, D)."""
    if features is None:
        return None
    array = _tensor(_numbers(features, "features"))
    return array if array.ndim == 3 else array[None]


def _columns_of(X: Any) -> list[Hashable] | None:
    """Names of a data frame's columns; None for an array."""
    return list(X.columns) if hasattr(X, "columns") else None


def _labels_of(
    y: Any, num_classes: int, columns: list[Hashable] | None, classes: Sequence[Hashable] | None
) -> tuple[npt.NDArray[np.int64], Array]:
    """Column (N,) of every sample, and the label (K,) of every column.

    Raises:
        DataError: labels that no rule maps to columns.
    """
    if np.ma.isMaskedArray(y):
        raise DataError("y: labels without a mask expected, got a masked array; leave samples out")
    labels = column_or_1d(y.detach().cpu().numpy() if isinstance(y, Tensor) else y, warn=True)
    check_classification_targets(labels)
    if classes is not None:
        if len(set(classes)) != num_classes:
            raise DataError(
                f"classes: {num_classes} different labels expected, one a column of X, got "
                f"{len(classes)} with {len(set(classes))} different ones"
            )
        return _positions(labels, list(classes)), np.asarray(list(classes))
    found = np.unique(labels)
    if columns is not None and set(found.tolist()) <= set(columns):
        return _positions(labels, columns), np.asarray(columns)
    is_whole = labels.dtype.kind in "iu" or (
        labels.dtype.kind == "f" and bool((labels == np.floor(labels)).all())
    )
    if is_whole and found[0] >= 0 and found[-1] < num_classes:
        return labels.astype(np.int64), np.arange(num_classes).astype(labels.dtype)
    if len(found) == num_classes:
        return np.searchsorted(found, labels).astype(np.int64), found
    shown = ", ".join(str(label) for label in found[:3])
    raise DataError(
        f"y: names of X's columns, integers 0..{num_classes - 1} or just {num_classes} different "
        f"labels expected, as X has {num_classes} columns, got {len(found)} ({shown}, ...); "
        "name the columns' labels with classes=[...]"
    )


def _positions(labels: Array, known: list[Hashable]) -> npt.NDArray[np.int64]:
    position = {label: index for index, label in enumerate(known)}
    unknown = sorted({str(label) for label in labels.tolist() if label not in position})
    if unknown:
        raise DataError(f"y: labels out of {_shown(known)} expected, got {', '.join(unknown[:3])}")
    return np.asarray([position[label] for label in labels.tolist()], dtype=np.int64)


def _with_classes(rectifier: Rectifier, classes: Array) -> Rectifier:
    """With the labels of its columns, where a file can hold them."""
    labels = classes.tolist()
    try:
        json.dumps(labels)
    except TypeError as error:
        raise ConfigError(
            f"classes: numbers or text expected as labels, got {type(labels[0]).__name__}"
        ) from error
    return replace(rectifier, metadata={**rectifier.metadata, "classes": labels})


def _in_kind_of(X: Any, values: Tensor, classes: Array) -> Any:
    """Numbers (N, K) float64 as the array, tensor or data frame that X is, in its precision."""
    if isinstance(X, Tensor):
        dtype = X.dtype if X.dtype in (torch.float32, torch.float64) else torch.float32
        return values.to(device=X.device, dtype=dtype)
    array = values.numpy()
    if not hasattr(X, "columns"):
        return array.astype(np.float32) if getattr(X, "dtype", None) == np.float32 else array
    if hasattr(X, "index"):
        return type(X)(array, index=X.index, columns=classes)
    return type(X)(array, schema=[str(label) for label in classes])
