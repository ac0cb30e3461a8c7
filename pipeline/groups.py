"""Many-, medium- and few-shot classes, by the number of training images.

K classes. The cuts are the paper's unless told otherwise: many > 100, few < 20, medium the rest (20
and 100 are medium).
"""

import re

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import ConfigError

Cuts = tuple[int, int]
"""Many-shot classes have more images than the first, few-shot ones fewer than the second."""

PAPER_CUTS: Cuts = (100, 20)
ABSENT_CLASS_IMAGES = 0.5
"""What a class without training images counts for in a prior."""


def shot_groups(
    class_counts: npt.NDArray[np.int64], cuts: Cuts = PAPER_CUTS
) -> dict[str, npt.NDArray[np.bool_]]:
    """Members of each group.

    Args:
        class_counts: (K,) training images per class.
        cuts: between the groups.

    Returns:
        `many`, `medium` and `few`, each (K,) bool; every class is in exactly one.
    """
    many_above, few_below = cuts
    many = class_counts > many_above
    few = class_counts < few_below
    return {"many": many, "medium": ~many & ~few, "few": few}


def parse_cuts(said: str | None, class_counts: npt.NDArray[np.int64]) -> Cuts:
    """The cuts that `--groups` names.

    Args:
        said: `100,20`, or `auto` for groups of as nearly a third of the classes each as ties
            allow; None for the paper's.
        class_counts: (K,) training images per class.

    Raises:
        ConfigError: neither, or the first number is below the second less one, so that a class
            would be in two groups.
    """
    if said is None:
        return PAPER_CUTS
    if said == "auto":
        ordered = np.sort(class_counts)[::-1]
        ends = np.flatnonzero(ordered[:-1] > ordered[1:]) + 1  # where a group may end
        if len(ends) == 0:
            return int(ordered[0]), int(ordered[0])
        many, not_few = (
            int(ends[np.abs(ends - part * len(ordered) / 3).argmin()]) for part in (1, 2)
        )
        return int(ordered[many]), int(ordered[not_few]) + 1
    found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", said)
    if found is None:
        raise ConfigError(
            f"groups: two whole numbers such as 100,20, or auto, expected, got {said!r}"
        )
    many_above, few_below = int(found[1]), int(found[2])
    if few_below > many_above + 1:
        raise ConfigError(
            f"groups: the larger number first expected, got {said}; 100,20 makes many-shot "
            "classes of more than 100 images and few-shot ones of fewer than 20"
        )
    return many_above, few_below


def head_to_tail(class_counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Class ids (K,) by falling training count; ties stay in label order."""
    return np.argsort(-class_counts, kind="stable")
