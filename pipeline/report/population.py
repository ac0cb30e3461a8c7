"""Which class distribution the metrics of a split are about.

K classes, n_j samples of class j in the split, q = the distribution asked for. Under q a sample of
class j counts v_j = q_j / n_j; for the split as it is every sample counts 1.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError
from marr_pipeline.groups import head_to_tail

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Population:
    """K classes of a split and what one sample of each counts.

    Attributes:
        samples: (K,) int64, n_j.
        weight: (K,) float64, v_j; 0 for a class without samples.
    """

    samples: Counts
    weight: Floats

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(K,) classes that have samples."""
        return self.samples > 0

    @property
    def mass(self) -> Floats:
        """(K,) what each class counts in all."""
        return self.weight * self.samples

    @property
    def is_as_sampled(self) -> bool:
        """Whether every sample counts the same, so that the split itself has this distribution."""
        weight = self.weight[self.present]
        return bool(np.allclose(weight, weight[0], rtol=1e-12, atol=0))


def as_sampled(labels: Counts, num_classes: int) -> Population:
    """The split as it is."""
    samples = np.bincount(labels, minlength=num_classes)
    return Population(samples=samples, weight=(samples > 0).astype(np.float64))


def under_distribution(labels: Counts, distribution: Floats) -> Population:
    """The split as if its classes came in another distribution.

    A class without samples says nothing about itself, so its share goes to the others in
    proportion.

    Args:
        labels: (N,) of the split.
        distribution: (K,) q, at least 0, in any unit.

    Raises:
        DataError: none of the classes of the distribution has samples.
    """
    samples = np.bincount(labels, minlength=len(distribution))
    weight = np.divide(
        distribution, samples, out=np.zeros(len(distribution)), where=samples > 0, dtype=np.float64
    )
    total = float((weight * samples).sum())
    if not total > 0:
        raise DataError(
            f"class distribution: weight on a class with samples expected, got none on any of "
            f"{(samples > 0).sum()}; give another distribution or split"
        )
    return Population(samples=samples, weight=weight / total)


def reversed_distribution(class_counts: Counts) -> Floats:
    """(K,) the training distribution turned around: the rarest class comes most often.

    The class of rank r from the head gets the share of the class of rank r from the tail, as in
    the backward long tail of LADE (Hong et al. 2021); among equal counts the label decides the
    rank.
    """
    order = head_to_tail(class_counts)
    distribution = np.empty(len(class_counts))
    distribution[order] = class_counts[order[::-1]] / class_counts.sum()
    return distribution
