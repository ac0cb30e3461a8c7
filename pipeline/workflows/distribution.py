"""Shares of the classes, as a user says them, and what a split's metrics are about under them.

K classes. Two options take them, and they differ in what they do with them. `--class-distribution`
only scores: the predictions stay, samples of different classes count differently.
`--target-prior` moves the logits to the distribution too, as `rectify.prior` does it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from marr_pipeline.report.population import (
    Counts,
    Floats,
    Population,
    as_sampled,
    reversed_distribution,
    under_distribution,
)
from marr_pipeline.workflows.class_numbers import numbers_in, numbers_of

Said = str | Path | Mapping[str, float] | Sequence[float] | Floats
"""A word, or a file; in Python also a number a class, in class order or by class name."""

WORDS: dict[str, tuple[str, Callable[[Counts], Floats]]] = {
    "uniform": ("every class equally often", lambda counts: np.ones(len(counts))),
    "train": ("every class as often as in training", lambda counts: counts.astype(np.float64)),
    "backward": ("the training distribution turned around", reversed_distribution),
}
"""What a word says, and the weights (K,) that it makes of the counts (K,) of the training list."""
KEYS = ("prior", "weights", "class_counts")
"""Under which numbers stand in an `.npz` or a JSON object."""
REMEDY = "give every class a weight"


def class_shares(
    said: Said,
    class_counts: Counts,
    class_names: Sequence[str] | None = None,
    *,
    option: str = "--class-distribution",
) -> Floats:
    """What an option names: the share (K,) of each class, at least 0, 1 in all.

    Args:
        said: the distribution.
        class_counts: (K,) of the training list.
        class_names: (K,), where the classes have names.
        option: how errors name numbers that come from no file.

    Raises:
        DataError: there are no such numbers.
    """
    num_classes = len(class_counts)
    is_word = isinstance(said, str) and said in WORDS
    if isinstance(said, str | Path) and not is_word:
        weights = numbers_in(
            Path(said), num_classes, keys=KEYS, remedy=REMEDY, class_names=class_names
        )
    else:
        given = WORDS[str(said)][1](class_counts) if is_word else said
        weights = numbers_of(
            given, num_classes, where=option, remedy=REMEDY, class_names=class_names
        )
    weights = weights / weights.max()  # the sum of very large ones would be infinite
    return np.asarray(weights / weights.sum())


def split_population(
    said: Said | None,
    labels: Counts,
    class_counts: Counts,
    class_names: Sequence[str] | None = None,
    *,
    option: str = "--class-distribution",
) -> tuple[Population, list[str]]:
    """What a sample of each class counts, and what of the distribution the split cannot show.

    Args:
        said: the distribution; None for the split as it is.
        labels: (N,) of the split.
        class_counts: (K,) of the training list.
        class_names: (K,), where the classes have names.
        option: how warnings name the distribution.

    Raises:
        DataError: there are no such numbers, or none on a class with samples.
    """
    if said is None:
        return as_sampled(labels, len(class_counts)), []
    shares = class_shares(said, class_counts, class_names, option=option)
    population = under_distribution(labels, shares)
    unseen = (shares > 0) & ~population.present
    if not unseen.any():
        return population, []
    return population, [
        f"{option} {_name(said)}: {unseen.sum()} of its classes have no sample in the split, "
        f"{shares[unseen].sum():.1%} of its weight; the other classes stand for them in proportion"
    ]


def describe_distribution(said: Said | None) -> str:
    """In words, for a caption."""
    if said is None:
        return "as it is"
    if isinstance(said, str) and said in WORDS:
        return f"with {WORDS[said][0]}"
    return f"with the class weights {'of ' * isinstance(said, str | Path)}{_name(said)}"


def recorded(said: Said | None) -> str | list[float] | dict[str, float] | None:
    """As it was said, for JSON."""
    if said is None or isinstance(said, str | Path):
        return None if said is None else str(said)
    if hasattr(said, "items"):
        return {str(name): float(value) for name, value in said.items()}
    return [float(value) for value in said]


def _name(said: Said) -> str:
    """The word or the file's name; numbers alone have none."""
    return Path(said).name if isinstance(said, str | Path) else "given"
