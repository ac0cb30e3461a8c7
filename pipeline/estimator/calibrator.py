"""Class shares of unlabelled samples by the estimator, from a calibration on labelled ones."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any, Self

import numpy.typing as npt
import torch

from marr_pipeline.errors import DataError
from marr_pipeline.estimator.arguments import labels_of
from marr_pipeline.rectify.prior.calibration import calibration_rows, fit_calibration
from marr_pipeline.rectify.prior.estimate import PriorEstimate
from marr_pipeline.rectify.prior.unlabelled import RectifiedRows, with_estimated_prior
from marr_pipeline.rectify.rectifier import Rectifier


class Calibrator:
    """What an estimator that rectifies logits (N, K) has of unknown class shares.

    Attributes:
        classes_: (K,) label of every column.
        rectifier_: what rectifies, with its calibration after `calibrate`.
    """

    classes_: npt.NDArray[Any]
    rectifier_: Rectifier

    @abstractmethod
    def _rows(self, X: Any, features: Any) -> RectifiedRows:
        """The samples and what rectifies them."""

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
        rows, known = self._rows(X, features), self.classes_.tolist()
        labels = torch.from_numpy(labels_of(y, len(known), None, known)[0])
        if len(labels) != rows.num_rows:
            raise DataError(f"y: {rows.num_rows} labels expected, as X has rows, got {len(labels)}")
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
