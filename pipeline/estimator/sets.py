"""Sets of labels by the estimator: what is in one is fixed on labelled samples of their own."""

import warnings
from abc import abstractmethod
from typing import Any, Self

import numpy.typing as npt
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.estimator.arguments import RectifierWarning, in_kind_of, labels_of
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.sets import LabelSets, SetScore, SetSettings, fit_sets


class SetPredictor:
    """What an estimator that rectifies logits (N, K) has of sets, beside labels.

    Attributes:
        classes_: (K,) label of every column.
        rectifier_: what rectifies.
        seed: of the halves of the samples that calibrate.
        sets_: what `calibrate_sets` has found.
    """

    classes_: npt.NDArray[Any]
    rectifier_: Rectifier
    seed: int

    @abstractmethod
    def _has_fitted(self, X: Any, features: Any) -> bool:
        """Whether `fit` was given most of these samples."""

    @abstractmethod
    def _rectified(self, X: Any, features: Any) -> Tensor:
        """(N, K) float64."""

    def calibrate_sets(
        self,
        X: Any,
        y: Any,
        *,
        coverage: float = 0.9,
        score: SetScore = "prevalence",
        interpolate: float = 0.0,
        features: Any = None,
    ) -> Self:
        """Fix what `predict_sets` takes into a set, on labelled samples that no fit has seen.

        Args:
            X: as `transform` takes it.
            y: labels (N,) as `predict` gives them.
            coverage: how often a set shall hold the label.
            score: `prevalence` minds rare classes, `softmax` makes the smallest sets.
            interpolate: from 0, one threshold for all classes, to 1, one for each.
            features: (N, D), for methods that need them.

        Raises:
            DataError: X and y contradict each other, or a label that `fit` has not seen.
            ConfigError: a setting is out of range.
        """
        settings = SetSettings(
            coverage=coverage, score=score, interpolate=interpolate, seed=self.seed
        )
        logits = self._rectified(X, features)
        known = self.classes_.tolist()
        labels, _ = labels_of(y, len(known), None, known)
        if len(labels) != len(logits):
            raise DataError(f"y: {len(logits)} labels expected, as X has rows, got {len(labels)}")
        self.sets_: LabelSets = fit_sets(
            logits, torch.from_numpy(labels), settings, log_prior=self.rectifier_.log_prior
        )
        told = self.sets_.warnings()
        if self._has_fitted(X, features):
            told.append(
                "calibrate_sets: samples that fit has not seen expected, got those that it was "
                "given: they look surer than others, and sets may hold fewer labels than asked"
            )
        for message in told:
            warnings.warn(message, RectifierWarning, stacklevel=2)
        return self

    def predict_sets(self, X: Any = None, features: Any = None) -> Any:
        """Which labels are in each sample's set (N, K) bool, in the kind of array that X is.

        Args:
            X: as `transform` takes it.
            features: (N, D), for methods that need them.
        """
        check_is_fitted(self)
        if not hasattr(self, "sets_"):
            raise NotFittedError(
                "predict_sets: sets that calibrate_sets has fixed expected, got none; call it on "
                "labelled samples that no fit has seen"
            )
        members = self.sets_.members(self._rectified(X, features))
        return in_kind_of(features if X is None else X, members, self.classes_)
