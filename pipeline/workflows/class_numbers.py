"""A number for each class, by a word or from a file: as `--class-distribution` and
`--prior-counts` say them.

K classes. A file is `.npz`, `.npy`, `.json`, or text with blanks or commas.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError, first_line
from marr_pipeline.report.population import (
    Population,
    as_sampled,
    reversed_distribution,
    under_distribution,
)
from marr_pipeline.workflows.arrays import read_npz

TRAIN, UNIFORM = "train", "uniform"
DISTRIBUTION_KEYS = ("prior", "weights", "class_counts")
PRIOR_COUNT_KEYS = ("prior_counts", "class_counts", "train_shots")
"""Under which numbers stand in an `.npz` or a JSON object; the last is that of published lists."""

DESCRIPTIONS = {
    "uniform": "every class equally often",
    "train": "every class as often as in training",
    "backward": "the training distribution turned around",
}


def asked_distribution(said: str, class_counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """What `--class-distribution` names: a weight (K,) for each class, in any unit.

    Raises:
        DataError: the file has no such numbers.
    """
    if said == UNIFORM:
        return np.ones(len(class_counts))
    if said == TRAIN:
        return class_counts.astype(np.float64)
    if said == "backward":
        return reversed_distribution(class_counts)
    remedy = "give every class a weight"
    return _read_class_numbers(Path(said), len(class_counts), keys=DISTRIBUTION_KEYS, remedy=remedy)


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
        f"--class-distribution {said}: {unseen.sum()} of its classes have no sample in the split, "
        f"{share:.1%} of its weight; the other classes stand for them in proportion"
    ]


def describe_distribution(said: str | None) -> str:
    """In words, for a caption."""
    if said is None:
        return "as it is"
    return f"with {DESCRIPTIONS.get(said, f'the class weights of {Path(said).name}')}"


def prior_counts(
    said: str | None, class_counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64] | None:
    """Counts (K,) that a foreign checkpoint was trained on, in class order.

    Args:
        said: `train`, `uniform`, or a file with one number a class; None if it is not known.
        class_counts: (K,) of the training split.

    Raises:
        DataError: the file has no such numbers.
    """
    if said is None:
        return None
    if said == TRAIN:
        return class_counts.astype(np.float64)
    if said == UNIFORM:
        return np.full(len(class_counts), class_counts.mean())
    return _read_class_numbers(
        Path(said),
        len(class_counts),
        keys=PRIOR_COUNT_KEYS,
        remedy="count the samples that the network was trained on",
    )


def _read_class_numbers(
    path: Path, num_classes: int, *, keys: Sequence[str], remedy: str
) -> npt.NDArray[np.float64]:
    """Numbers (K,) of at least 0, not all of them 0; in an object or archive under one of `keys`.

    Raises:
        DataError: the file has no such numbers, which `remedy` mends.
    """
    found = _read(path, keys)
    if found.shape != (num_classes,):
        raise DataError(
            f"{path}: {num_classes} numbers expected, one a class in class order, got an array "
            f"{found.shape}; {remedy}"
        )
    is_valid = np.isfinite(found) & (found >= 0)
    if not is_valid.all() or not found.any():
        shown = found[~is_valid][0] if not is_valid.all() else "zeros alone"
        raise DataError(
            f"{path}: numbers of at least 0, not all of them 0, expected, got {shown}; {remedy}"
        )
    return found


def _read(path: Path, keys: Sequence[str]) -> npt.NDArray[np.float64]:
    try:
        if path.suffix == ".npz":
            found: Any = read_npz(path)
        elif path.suffix == ".npy":
            found = np.load(path, allow_pickle=False)
        elif path.suffix == ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
        else:
            found = path.read_text(encoding="utf-8").replace(",", " ").split()
        if isinstance(found, dict):
            known = [key for key in keys if key in found]
            if not known:
                raise DataError(
                    f"{path}: numbers under {' or '.join(keys)} expected, got "
                    f"{', '.join(found) or 'nothing'}; rename them"
                )
            found = found[known[0]]
        return np.asarray(found, dtype=np.float64)
    except DataError:
        raise
    except (OSError, EOFError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: one number a class expected as .npz, .npy, .json or text, got: "
            f"{first_line(error)}; write them so"
        ) from error
