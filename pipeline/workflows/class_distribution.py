"""The class distribution that a comparison is about, as `--prior` says it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from marr_pipeline.report.population import (
    Population,
    as_sampled,
    reversed_distribution,
    under_distribution,
)
from marr_pipeline.workflows.class_numbers import read_class_numbers

KEYS = ("prior", "weights", "class_counts")
"""Under which the numbers stand in an `.npz` or a JSON object."""

DESCRIPTIONS = {
    "uniform": "every class equally often",
    "train": "every class as often as in training",
    "backward": "the training distribution turned around",
}


def asked_distribution(said: str, class_counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """What `--prior` names: a weight (K,) for each class, in any unit.

    Raises:
        DataError: the file has no such numbers.
    """
    if said == "uniform":
        return np.ones(len(class_counts))
    if said == "train":
        return class_counts.astype(np.float64)
    if said == "backward":
        return reversed_distribution(class_counts)
    remedy = "give every class a weight"
    return read_class_numbers(Path(said), len(class_counts), keys=KEYS, remedy=remedy)


def split_population(
    said: str | None, labels: npt.NDArray[np.int64], class_counts: npt.NDArray[np.int64]
) -> tuple[Population, list[str]]:
    """What a sample of each class counts, and what of the distribution the split cannot show.

    Args:
        said: `uniform`, `train`, `backward` or a file; None for the split as it is.
        labels: (N,) of the split.
        class_counts: (K,) of the training list.

    Raises:
        DataError: the file has no such numbers, or none on a class with samples.
    """
    if said is None:
        return as_sampled(labels, len(class_counts)), []
    distribution = asked_distribution(said, class_counts)
    population = under_distribution(labels, distribution)
    unseen = (distribution > 0) & ~population.present
    if not unseen.any():
        return population, []
    share = distribution[unseen].sum() / distribution.sum()
    return population, [
        f"--prior {said}: {unseen.sum()} of its classes have no sample in the split, {share:.1%} "
        "of its weight; the other classes stand for them in proportion"
    ]


def describe_distribution(said: str | None) -> str:
    """In words, for a caption."""
    if said is None:
        return "as it is"
    return f"with {DESCRIPTIONS.get(said, f'the class weights of {Path(said).name}')}"
