"""Numbered checks of how many rows the classes have: R01, R06 and R07.

K classes, in training and among the rows that are scored.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from marr_pipeline.findings import Finding
from marr_pipeline.groups import PAPER_CUTS, Cuts, shot_groups
from marr_pipeline.labels import shown

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

SAME_TAIL = 0.5
"""Of the logarithm of training's imbalance, above which rows count as imbalanced as it is."""
IMBALANCED = 2.0
"""Commonest over rarest class, along that slope, below which rows are balanced enough."""
FEWEST_TEST_ROWS = 100
"""Of a group."""


def absent_classes(class_counts: Counts, names: Sequence[str] | None = None) -> Finding | None:
    """R01: classes (K,) without training samples."""
    absent = np.flatnonzero(class_counts == 0).tolist()
    if not absent:
        return None
    told = shown([place if names is None else names[place] for place in absent])
    return Finding(
        "R01",
        f"{len(absent):,} of {len(class_counts):,} classes have no training sample ({told}).",
        "They get no loss weight and a prior of half a sample, and no method can learn them from "
        "these rows; leave them out, or get some.",
    )


def imbalanced_test(
    class_counts: Counts, scored: Floats, gains: Mapping[str, tuple[float, float]] | None = None
) -> Finding | None:
    """R06: the rows that are scored have the long tail of training.

    Args:
        class_counts: (K,) of the training list.
        scored: (K,) what the rows of each class count, in any unit.
        gains: of each rectifier over the softmax, in overall and in balanced accuracy.
    """
    both = (class_counts > 0) & (scored > 0)
    trained, tested = np.log(class_counts[both]), np.log(scored[both])
    if both.sum() < 2 or np.ptp(trained) == 0:
        return None
    slope = np.polyfit(trained, tested, 1)[0]
    if slope <= SAME_TAIL or slope * np.ptp(trained) < np.log(IMBALANCED):
        return None
    against = ""
    if gains:
        name = min(gains, key=lambda key: gains[key][0])
        overall, balanced = gains[name]
        against = (
            f" Against softmax {name} has {100 * overall:+.1f} points overall and "
            f"{100 * balanced:+.1f} balanced."
        )
    return Finding(
        "R06",
        "The rows scored are imbalanced as training is: overall accuracy and likelihood reward the "
        f"common classes, at whose expense rectification serves the rare ones.{against}",
        "Where every class counts alike go by balanced accuracy; where the model is used on "
        "classes as they come here, see compare --target-prior train.",
    )


def small_groups(
    class_counts: Counts, test_rows: Counts, cuts: Cuts = PAPER_CUTS
) -> Finding | None:
    """R07: groups of classes with too few rows scored, by rows (K,) of each class."""
    small = {
        name: int(test_rows[members].sum())
        for name, members in shot_groups(class_counts, cuts).items()
        if 0 < test_rows[members].sum() < FEWEST_TEST_ROWS
    }
    if not small:
        return None
    told = ", ".join(f"{name} ({rows:,})" for name, rows in small.items())
    return Finding(
        "R07",
        f"Fewer than {FEWEST_TEST_ROWS} rows are scored in a group: {told}; its accuracy is "
        "uncertain.",
        "Read its interval (compare), not its value, or cut the groups otherwise (--groups auto).",
    )
