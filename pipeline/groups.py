"""Many-, medium- and few-shot classes, by the number of training images.

K classes. The cuts are the paper's: many > 100, few < 20, medium the rest (20 and 100 are medium).
"""

import numpy as np
import numpy.typing as npt

MANY_ABOVE = 100
FEW_BELOW = 20
ABSENT_CLASS_IMAGES = 0.5
"""What a class without training images counts for in a prior."""


def shot_groups(class_counts: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.bool_]]:
    """Members of each group.

    Args:
        class_counts: (K,) training images per class.

    Returns:
        `many`, `medium` and `few`, each (K,) bool; every class is in exactly one.
    """
    many = class_counts > MANY_ABOVE
    few = class_counts < FEW_BELOW
    return {"many": many, "medium": ~many & ~few, "few": few}


def head_to_tail(class_counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Class ids (K,) by falling training count; ties stay in label order."""
    return np.argsort(-class_counts, kind="stable")
