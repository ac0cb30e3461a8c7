"""What an estimator learns of labelled samples that no fit has seen: class shares of others without
labels, and what is in a set of labels.
"""

import warnings
from abc import abstractmethod
from dataclasses import replace
from typing import Any, Self

import numpy.typing as npt
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.estimator.arguments import RectifierWarning, in_kind_of, labels_of
from marr_pipeline.rectify.prior.calibration import calibration_rows, fit_calibration
from marr_pipeline.rectify.prior.estimate import PriorEstimate
from marr_pipeline.rectify.prior.unlabelled import RectifiedRows, with_estimated_prior
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.sets import LabelSets, SetScore, SetSettings, fit_sets


class HeldOut:
    """What an estimator that rectifies logits (N, K) has of samples that calibrate it.

    Attributes:
        classes_: (K,) label of every column.
        rectifier_: what rectifies, with its calibration after `calibrate`.
        seed: of the halves of the samples that calibrate sets.
        sets_: what `calibrate_sets` has found.
    """

    classes_: npt.NDArray[Any]
    rectifier_: Rectifier
    seed: int

    @abstractmethod
    def _rows(self, X: Any, features: Any) -> RectifiedRows:
        """The samples and what rectifies them."""

    @abstractmethod
    def _has_fitted(self, X: Any, features: Any) -> bool:
        """Whether `fit` was given most of these samples."""

    def _rectified(self, X: Any, features: Any, rectifier: Rectifier | None = None) -> Tensor:
        """(N, K) float64, by the rectifier fitted or another of its kind."""
        rows = self._rows(X, features)
        return rows.by(rectifier or self.rectifier_).block(slice(0, rows.num_rows))

    def _columns(self, y: Any, num_rows: int) -> Tensor:
        """Columns (N,) of the labels of samples."""
        known = self.classes_.tolist()
        labels, _ = labels_of(y, len(known), None, known)
        if len(labels) != num_rows:
            raise DataError(f"y: {num_rows} labels expected, as X has rows, got {len(labels)}")
        return torch.from_numpy(labels)

    def calibrate(self, X: Any, y: Any, *, features: Any = None) -> Self:
        """Calibrate on labelled samples, which neither the classifier nor a whole head has seen.

        `rectifier_` keeps it, and `save` writes it. An estimate of unknown class shares starts from
        it, and a method that stands for no prior is moved to a target prior by it.

        Args:
            X: as `transform` takes it.
            y: labels (N,) as `predict` gives them.
            features: (N, D), for methods that need them.

        Raises:
            DataError: X and y contradict each other, or a label that `fit` has not seen.
        """
        rows = self._rows(X, features)
        labels = self._columns(y, rows.num_rows)
        chosen = calibration_rows(labels, rows.num_classes)
        found = fit_calibration(
            rows.take(chosen), labels[chosen], self.rectifier_.log_prior, split="tune"
        )
        self.rectifier_ = replace(self.rectifier_, calibration=found)
        return self

    def estimate_prior(self, X: Any = None, features: Any = None) -> PriorEstimate:
        """Class shares of samples without labels, by maximum likelihood from the calibration.

        `predict_proba(X, target_prior="estimate")` moves the probabilities to them.

        Args:
            X: as `transform` takes it.
            features: (N, D), for methods that need them.

        Raises:
            DataError: as `transform`, or the rectifier was not calibrated.
        """
        return with_estimated_prior(self._rows(X, features))[1]

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
        labels = self._columns(y, len(logits))
        self.sets_: LabelSets = fit_sets(
            logits, labels, settings, log_prior=self.rectifier_.log_prior
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
