"""The sums over samples that every metric is made of.

N samples, K classes; v_j = what a sample of class j counts (`population`). A sample of class y adds

    to right (K,)       at y                           1 if it is right, whatever v is
    to predicted (K,)   at the predicted class         v_y
    to surplus (15,)    at the bin of its confidence   v_y (right - confidence)
    to nll              its only place                 v_y nll

All sums of one classifier lie in one vector of L = 2K + 16 entries. It is linear in how often each
sample is counted, so the sums of many resamples are one sparse matrix times their counts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marr_pipeline.report.population import Population
from marr_pipeline.report.scores import SampleScores

ECE_BINS = 15

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """Views of the sums (L, ...) of one classifier; trailing axes are resamples, if there are any.

    Attributes:
        right: (K, ...) right samples of each class.
        predicted: (K, ...) what the predictions of each class count.
        surplus: (15, ...) accuracy above confidence in each bin.
        nll: (...) negative log likelihood.
    """

    right: Floats
    predicted: Floats
    surplus: Floats
    nll: Floats


@dataclass(frozen=True)
class Entries:
    """What every sample adds, and where: four entries a sample.

    Attributes:
        place: (4, N) int64 position in the sums.
        value: (4, N) float64.
        num_places: L.
    """

    place: npt.NDArray[np.int64]
    value: Floats
    num_places: int

    def total(self) -> Floats:
        """(L,) sums with every sample counted once."""
        places, values = self.place.ravel(), self.value.ravel()
        found = np.bincount(places, weights=values, minlength=self.num_places)
        return found.astype(np.float64, copy=False)


def score_entries(scores: SampleScores, population: Population) -> Entries:
    """The entries of scored samples."""
    num_classes = len(population.samples)
    is_right = scores.predicted == scores.labels
    weight = population.weight[scores.labels]
    bins = np.minimum((scores.confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    last = 2 * num_classes + ECE_BINS
    place = [
        scores.labels,
        num_classes + scores.predicted,
        2 * num_classes + bins,
        np.full(len(bins), last),
    ]
    value = [is_right, weight, weight * (is_right - scores.confidence), weight * scores.nll]
    return Entries(np.stack(place), np.stack(value).astype(np.float64), last + 1)


def split_sums(total: Floats, num_classes: int) -> Sums:
    """Name the parts of sums (L, ...)."""
    right, predicted, surplus, nll = np.split(
        total, [num_classes, 2 * num_classes, 2 * num_classes + ECE_BINS]
    )
    return Sums(right, predicted, surplus, nll[0])
