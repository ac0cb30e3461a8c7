"""The class counts that a foreign checkpoint was trained on, as `--prior-counts` says them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from marr_pipeline.workflows.class_numbers import read_class_numbers

TRAIN, UNIFORM = "train", "uniform"
KEYS = ("prior_counts", "class_counts", "train_shots")
"""Under which counts stand in an `.npz` or a JSON object; the last is that of published lists."""


def prior_counts(
    said: str | None, class_counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64] | None:
    """Counts (K,) in class order.

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
    return read_class_numbers(
        Path(said),
        len(class_counts),
        keys=KEYS,
        remedy="count the images that the network was trained on",
    )
