"""`MarginRectifier`: phase two as a scikit-learn estimator, on logits in memory.

N samples, K classes, V views, D features. The columns of X are the classes, so that X is what a
classifier's `decision_function` or the last layer of a network gives.
"""

import json
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from marr_pipeline.checks.classes import absent_classes
from marr_pipeline.checks.fits import fit_findings, own_findings
from marr_pipeline.checks.rows import row_keys
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.estimator.arguments import RectifierWarning as RectifierWarning
from marr_pipeline.estimator.arguments import (
    bounded,
    columns_of,
    feature_views,
    features_of,
    in_class_order,
    in_kind_of,
    labels_of,
    numbers_of,
    numbers_of_classes,
    plain,
    shares_of,
    tensor_of,
    whole_counts,
)
from marr_pipeline.estimator.held_out import HeldOut
from marr_pipeline.findings import Mute, heard, muted_codes
from marr_pipeline.names import ESTIMATE, SCALES
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.fold import fold_
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.prior.target import with_prior
from marr_pipeline.rectify.prior.unlabelled import RectifiedRows, with_estimated_prior
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier
from marr_pipeline.rectify.rectifier_file import load_rectifier, save_rectifier
from marr_pipeline.rectify.settings import Center, FittedRows, Normalise, Optimizer, check_choice
from marr_pipeline.rectify.tuning import TuningOptions, tune
from marr_pipeline.rectify.tuning.choice import Tuning
from marr_pipeline.workflows.arrays.scale import as_logits, of_both_classes

Array = npt.NDArray[Any]
_LEAST = "least_logarithm"
"""Key of a rectifier's metadata: what stands for the logarithm of a probability of 0."""
_COLUMNS = "columns"
"""Another: names of the columns of the data frame that was fitted."""
_MOST = 0.5
"""Share of samples that make all of them so."""


@dataclass(eq=False, repr=False)  # whose fields scikit-learn takes for parameters
class MarginRectifier(HeldOut, ClassifierMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Logits of a classifier trained on imbalanced data to logits for balanced classes.

    `MarginRectifier()` fits what `pipeline rectify` without options fits. Parameters that are None
    take the value that the preset has for the method.

    Args:
        method: one of `marr_pipeline.names.METHODS`.
        preset: `default`, `paper`, `official`, or another one that the method has.
        gamma: exponent of the class weights U_j ~ n_j^-gamma (paper, equation 12).
        l2: strength of the ridge, in loss units; for `marr` what the rows can be trusted with.
        center: where the ridge pulls to.
        optimizer: `lbfgs`, `newton` or `sgd`.
        tolerance: on the bound of F - F*, in loss units.
        seed: of `sgd`'s batches, and of the folds on which a strength or scale is chosen.
        tau: of logit adjustment and tau-norm, and of a whole head.
        normalise: `none`, `unit` or `standard` features, of a whole head.
        shrinkage: of gda; None chooses it on folds.
        scale: of the logits of ncm and gda; None fits it on folds.
        rows: `seen` if the classifier was trained on the samples that `fit` is given, `held-out` if
            it was not, as by `cross_val_predict`: those can be trusted with more.
        scores: what X is, one of `marr_pipeline.names.SCALES`: of `probabilities` and
            `log-probabilities` logits are made as `import --scale` does it.
        mute: numbers of checks, `R02`, that are not to speak.

    Attributes:
        classes_: (K,) label of every column.
        n_features_in_: K.
        result_: how the fit ended, with its certificate; `checks` is what numbered checks found.
        tuning_: how l2 was chosen on folds, for a method that has it so unless l2 is given; or
            None.
        rectifier_: scale (K,) and shift (K,), and whatever the method has beside them.
        sets_: what `calibrate_sets` has found; `save` leaves it out.
    """

    method: str = "marr"
    preset: str = "default"
    _: KW_ONLY
    gamma: float | None = None
    l2: float | None = None
    center: Center | None = None
    optimizer: Optimizer | None = None
    tolerance: float = 1e-6
    seed: int = 0
    tau: float | None = None
    normalise: Normalise | None = None
    shrinkage: float | None = None
    scale: float | None = None
    rows: FittedRows = "seen"
    scores: str = "logits"
    mute: Mute = ()

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
                None for a method that fits a head on features alone; then there is a column for
                each of `classes` or `class_counts`, or for each label of y.
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
            ConfigError: a parameter is out of range, or no such check.
            FitError: the loss ran out of finite numbers.
        """
        muted_codes(self.mute)
        check_choice("scores", self.scores, SCALES)
        settings = preset_settings(self.preset, method=self.method, **self._own_settings())
        settings = replace(settings, fit_split="train")  # whatever rows X are
        rows = feature_views(features)
        if X is None:
            logits = None
            num_classes = _num_columns(y, rows, classes, class_counts)
            self.n_features_in_ = num_classes
        else:
            if "logits" not in METHODS[self.method].needs:
                _warn_of_unused(self.method)
            logits = self._logits(X, reset=True)
            num_classes = logits.shape[-1]
        columns = columns_of(X)
        labels, self.classes_ = labels_of(y, num_classes, columns, classes)
        in_class_order(X, self.classes_)
        known = (self.classes_.tolist(), columns)

        def given(values: Any, name: str, otherwise: Array) -> Array:
            return otherwise if values is None else numbers_of_classes(values, name, known)

        of_y = np.bincount(labels, minlength=num_classes)
        counts = whole_counts(given(class_counts, "class_counts", of_y))
        prior = given(prior_counts, "prior_counts", counts.astype(np.float64))
        norm = given(weight_norm, "weight_norm", np.ones(num_classes))
        inputs = FitInputs(
            logits=logits if logits is None or logits.ndim == 3 else logits[None],
            labels=torch.from_numpy(labels),
            weight_norm=torch.from_numpy(norm),
            class_counts=torch.from_numpy(counts),
            prior_counts=torch.from_numpy(prior),
            features=rows,
            rows=self.rows,
        )
        self._fitted = _keys_of(inputs.features if logits is None else inputs.logits)
        self.tuning_: Tuning | None = None
        if METHODS[self.method].is_tuned and self.l2 is None:
            self.tuning_ = tune(
                inputs,
                inputs.first_views(1),
                settings,
                source="cross-validation",
                options=TuningOptions(),
            )
            settings = self.tuning_.chosen.settings
        fit = fit_rectifier(inputs, settings)
        fits = {self.method: fit.rectifier}
        found = [absent_classes(counts), *fit_findings(fits), *own_findings(inputs, fits)]
        self.result_: FitResult = replace(fit, checks=heard(found, self.mute))
        said: dict[str, Any] = {}
        if hasattr(self, "feature_names_in_"):
            said = {_COLUMNS: self.feature_names_in_.tolist()}
        if self.scores != "logits" and logits is not None:
            said |= {"scores": self.scores, _LEAST: float(logits.min())}
        self.rectifier_ = _with_classes(fit.rectifier, self.classes_, said)
        for message in (*fit.warnings, *map(str, self.result_.checks)):
            warnings.warn(message, RectifierWarning, stacklevel=2)
        return self

    def transform(self, X: Any, features: Any = None) -> Any:
        """Rectified logits (N, K), in the kind of array that X is.

        Args:
            X: logits (N, K), or scores as `fit` takes them; None for a whole head.
            features: (N, D), for methods that need them.

        Raises:
            DataError: X is of another number of classes, or features are missing.
        """
        rectified = self._rectified(X, features)
        return in_kind_of(features if X is None else X, rectified, self.classes_)

    def predict(self, X: Any = None, features: Any = None) -> Any:
        """Labels (N,) of the largest rectified logits; numbers as a tensor where the rows are one.

        Args:
            X: as `transform` takes it.
            features: (N, D), for methods that need them.
        """
        columns = self._rectified(X, features).argmax(dim=-1).numpy()
        chosen = self.classes_[columns]
        rows = features if X is None else X
        is_tensor = isinstance(rows, Tensor) and chosen.dtype.kind in "iufb"
        return torch.from_numpy(chosen).to(rows.device) if is_tensor else chosen

    def predict_proba(
        self, X: Any = None, features: Any = None, *, target_prior: Any = None
    ) -> Any:
        """Softmax (N, K) of the rectified logits, in the kind of array X is.

        For classes that are equally common where the method corrects the prior, as `marr` does;
        `softmax`, `temperature` and `vector-scaling` keep that of their rows.
        `rectifier_.log_prior` has it.

        Args:
            X: as `transform` takes it.
            features: (N, D), for methods that need them.
            target_prior: class shares of the place where X is from, if they are others: a word or
                a file as `--target-prior` takes them, where `train` are those of `class_counts`; or
                a number for each class in any unit, in the order of the columns, or a pandas Series
                or mapping from labels or names of columns; or `estimate`, for those that the
                samples tell of themselves, after `calibrate`.

        Raises:
            DataError: as `transform`; shares of other classes; or a method whose probabilities
                stand for no prior that another could take the place of, and that was not
                calibrated.
        """
        check_is_fitted(self)
        rectifier = self.rectifier_
        if isinstance(target_prior, str) and target_prior == ESTIMATE:
            rectifier, _ = with_estimated_prior(self._rows(X, features))
        elif target_prior is not None:
            known = (self.classes_.tolist(), columns_of(X))
            shares = shares_of(target_prior, known, rectifier)
            rectifier = with_prior(rectifier, torch.from_numpy(shares).log())
        probabilities = torch.softmax(self._rectified(X, features, rectifier), dim=-1)
        return in_kind_of(features if X is None else X, probabilities, self.classes_)

    def score(
        self, X: Any = None, y: Any = None, sample_weight: Any = None, features: Any = None
    ) -> float:
        """Share of samples whose label is predicted.

        Args:
            X: as `transform` takes it.
            y: labels (N,).
            sample_weight: (N,) what each counts; None for all alike.
            features: (N, D), for methods that need them.
        """
        return float(accuracy_score(y, self.predict(X, features), sample_weight=sample_weight))

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names (K,) of the columns of `transform`: the classes."""
        check_is_fitted(self)
        return np.asarray([str(label) for label in self.classes_], dtype=object)

    def fold_(self, linear: torch.nn.Linear) -> torch.nn.Linear:
        """Put the rectifier into the head whose logits it was fitted on, in place."""
        check_is_fitted(self)
        return fold_(linear, self.rectifier_)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the rectifier as `pipeline rectify -o` does, with the labels of its columns.

        A file that is no rectifier is replaced with `overwrite` alone.
        """
        check_is_fitted(self)
        save_rectifier(self.rectifier_, Path(path), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A fitted estimator of a rectifier file, by `save` or by `pipeline rectify -o`.

        Its labels are those of `fit`, or the cache's names of classes where it has some.

        Raises:
            DataError: not a rectifier, of a newer version, or damaged.
        """
        rectifier = load_rectifier(Path(path))
        parameters = cls._get_param_names()
        stored = {name: value for name, value in rectifier.metadata.items() if name in parameters}
        made = cls(**stored)
        made.rectifier_ = rectifier
        names = rectifier.metadata.get("class_names", list(range(rectifier.num_classes)))
        made.classes_ = np.asarray(rectifier.metadata.get("classes", names))
        if _COLUMNS in rectifier.metadata:
            made.feature_names_in_ = np.asarray(rectifier.metadata[_COLUMNS], dtype=object)
        made.n_features_in_ = rectifier.num_classes
        return made

    def _own_settings(self) -> dict[str, Any]:
        """Parameters that were given, beside method and preset."""
        own = {name: getattr(self, name) for name in self._get_param_names()}
        return {
            # NumPy's, as a grid search gives them, are no numbers for JSON.
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in own.items()
            if value is not None and name not in ("method", "preset", "scores", "mute")
        }

    def _rows(self, X: Any, features: Any) -> RectifiedRows:
        """The samples and what rectifies them."""
        check_is_fitted(self)
        logits = None if X is None else self._logits(X, reset=False)
        known = features_of(features)
        if logits is not None and known is not None and len(logits) != known.shape[-2]:
            raise DataError(
                f"features: {len(logits)} rows expected, as X has, got {known.shape[-2]}; give "
                "both of the same samples, or X=None for a whole head"
            )
        if logits is not None and isinstance(self.rectifier_, HeadRectifier):
            _warn_of_unused(self.rectifier_.method)
        return RectifiedRows(self.rectifier_, logits, known)

    def _has_fitted(self, X: Any, features: Any) -> bool:
        """Whether `fit` was given most of these samples; no file knows it."""
        given = features_of(features) if X is None else self._logits(X, reset=False)
        known = getattr(self, "_fitted", np.empty(0))
        return bool(np.isin(_keys_of(given), known).mean() > _MOST)

    def _logits(self, X: Any, *, reset: bool) -> Tensor:
        """(N, K) or (V, N, K) on the CPU; scores of a binary classifier as two columns."""
        given = plain(X, "X")
        if not reset:
            unnamed = in_class_order(given, self.classes_)
            given = given if hasattr(self, "feature_names_in_") else unnamed
        shape = np.asarray(given).shape
        if len(shape) == 3 and reset:
            views = numbers_of(given, "X")
            self.n_features_in_ = shape[-1]
            return tensor_of(self._of_scores(views, reset=reset))
        is_binary = len(shape) == 1 or shape[1:] == (1,)
        if is_binary and (reset or self.n_features_in_ == 2):
            scores = numbers_of(given, "X").reshape(1, -1, 1)
            given = of_both_classes(scores, self.scores)[0]
        checked = validate_data(
            self,
            given,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite=self.scores != "log-probabilities",  # of 0 they are not
        )
        numbers = self._of_scores(np.ascontiguousarray(checked)[None], reset=reset)[0]
        return tensor_of(bounded(numbers, "X"))

    def _of_scores(self, rows: Array, *, reset: bool) -> Array:
        """Logits (V, N, K) of X; of probabilities none below the least that was fitted."""
        if self.scores == "logits":
            return rows
        floor = None if reset else self.rectifier_.metadata.get(_LEAST)
        logits, told = as_logits(rows, scale=self.scores, floor=floor, where="X")
        for message in told:
            warnings.warn(message, RectifierWarning, stacklevel=4)
        return logits


def _warn_of_unused(method: str) -> None:
    """Say that X is given to a method that fits a head on features alone."""
    warnings.warn(
        f"X: None expected for {method}, which takes features alone, got logits; they are not used",
        RectifierWarning,
        stacklevel=3,
    )


def _keys_of(rows: Any) -> Array:
    """A number for each row of (..., W), the same where rows are; none where there are none."""
    return np.empty(0) if rows is None else row_keys(rows.flatten(0, -2).numpy())


def _num_columns(
    y: Any, features: Tensor | None, classes: Sequence[Hashable] | None, class_counts: Any
) -> int:
    """K where there are no logits to say it."""
    if features is None:
        raise DataError("X: logits expected, or None with features, got neither; give one of them")
    for known in (classes, class_counts):
        if known is not None:
            return len(known)
    return len(np.unique(y.numpy(force=True) if isinstance(y, Tensor) else np.asarray(y)))


def _with_classes(rectifier: Rectifier, classes: Array, said: dict[str, Any]) -> Rectifier:
    """With the labels of its columns, where a file can hold them, and what else is to be in it."""
    labels = classes.tolist()
    try:
        json.dumps(labels)
    except TypeError as error:
        raise ConfigError(
            f"classes: numbers or text expected as labels, got {type(labels[0]).__name__}"
        ) from error
    return replace(rectifier, metadata={**rectifier.metadata, **said, "classes": labels})
