"""Long-tailed subsets: how many images each class keeps, and which.

K classes, N_1 images in the largest. Class i = 0..K-1 in falling order of available images
keeps  n_i = int(N_1 (1/R)^(i/(K-1)))  of them: from N_1 down to N_1 / R, R = imbalance_ratio.
This is the profile of Cui et al. (2019) and Cao et al. (2019), truncation included: on
CIFAR-100 at R = 200 the smallest class has 2 images, not 2.5.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.groups import head_to_tail

RowNumbers = npt.NDArray[np.int64]
"""Rows of a source or a split, one number an image."""

# Last word of the seed of each kind of draw. Never 0: NumPy reads [s, j] and [s, j, 0] alike.
HOLD_OUT_STREAM = 1


def long_tail_counts(
    available: npt.NDArray[np.int64],
    imbalance_ratio: float,
    *,
    class_names: Sequence[str] | None = None,
) -> npt.NDArray[np.int64]:
    """Images that each class keeps.

    Args:
        available: (K,) images there are; ties are ordered by label.
        imbalance_ratio: R >= 1, largest over smallest count before truncation.
        class_names: K names for the error messages; labels if None.

    Returns:
        (K,) int64, index is class id.

    Raises:
        ConfigError: R is below 1, or so large that a class would keep nothing.
        DataError: fewer than two classes, an empty class, or one with too few images.
    """
    names = [str(label) for label in range(len(available))] if class_names is None else class_names
    if not 1 <= imbalance_ratio < np.inf:
        raise ConfigError(
            f"imbalance ratio: a number of at least 1 expected, got {imbalance_ratio}; "
            "give largest over smallest count, such as 100"
        )
    if len(available) < 2:
        raise DataError(
            f"long-tailed subset: at least 2 classes expected, got {len(available)}; "
            "leave the imbalance ratio out"
        )
    last = len(available) - 1
    largest = int(available.max())
    counts = np.zeros(len(available), dtype=np.int64)
    for i, label in enumerate(head_to_tail(available)):
        needed = int(largest * (1.0 / imbalance_ratio) ** (i / last))
        if available[label] == 0:
            raise DataError(
                f"class '{names[label]}': at least one image expected, got an empty class; "
                "add images or remove the class"
            )
        if needed == 0:
            raise ConfigError(
                f"imbalance ratio: at most {largest} expected, got {imbalance_ratio:g}, which "
                f"leaves class '{names[label]}' without an image; choose a smaller one"
            )
        if needed > available[label]:
            raise DataError(
                f"class '{names[label]}': {needed} images expected at imbalance ratio "
                f"{imbalance_ratio:g}, got {available[label]}; choose a larger ratio (the images "
                "are already long-tailed) or add images"
            )
        counts[label] = needed
    return counts


def select_rows(
    labels: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], data_seed: int
) -> npt.NDArray[np.int64]:
    """Rows of a subset with exactly `counts` images of each class.

    Each class has its own generator and one permutation of all its rows, of which the first
    `counts[j]` are kept: subsets of one seed are nested, whatever their counts.

    Args:
        labels: (N,) int64.
        counts: (K,) int64, at most the number of rows of each class.
        data_seed: with the label, the seed of the class's permutation.

    Returns:
        (counts.sum(),) int64, ascending.
    """
    kept = [
        np.random.default_rng([data_seed, label]).permutation(np.flatnonzero(labels == label))[:n]
        for label, n in enumerate(counts)
    ]
    return np.sort(np.concatenate(kept)).astype(np.int64)


def hold_out(
    labels: npt.NDArray[np.int64], fraction: float, data_seed: int
) -> npt.NDArray[np.int64]:
    """Rows to hold out of training for choosing settings, the same share of every class.

    A class of n images gives max(1, round(fraction n)) of them and keeps at least one itself;
    a class of one image gives none.

    Args:
        labels: (N,) int64, of the training images.
        fraction: in [0, 1); 0 holds nothing out.
        data_seed: with the label, the seed of the class's draw.

    Returns:
        (M,) int64, ascending.

    Raises:
        ConfigError: `fraction` lies outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ConfigError(
            f"tune fraction: a number in [0, 1) expected, got {fraction}; "
            "0.1 holds a tenth of every class out"
        )
    held = np.empty(0, dtype=np.int64)
    if fraction == 0:
        return held
    for label, n in enumerate(np.bincount(labels)):
        if n > 1:
            rng = np.random.default_rng([data_seed, label, HOLD_OUT_STREAM])
            take = min(max(1, round(fraction * int(n))), int(n) - 1)
            held = np.append(held, rng.permutation(np.flatnonzero(labels == label))[:take])
    return np.sort(held)
