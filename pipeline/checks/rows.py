"""Numbered checks of rows themselves, whatever their labels are: R09, R13, R14, R16 and R17.

N rows of W numbers each, logits or features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from marr_pipeline.findings import Finding
from marr_pipeline.rectify.rows.source import are_probabilities

Rows = npt.NDArray[Any]

SHARED_ROWS, SHARED_SHARE = 20, 0.01
"""Rows with one vector that are worth a word, and their share."""
TELLING_WIDTH = 4
"""Numbers of a row that do not agree with another's by chance."""


def probabilities_for_logits(sample: Tensor) -> Finding | None:
    """R09: rows (N, K) that were given as logits are probabilities, most of them."""
    if not are_probabilities(sample):
        return None
    return Finding(
        "R09",
        "The logits are probabilities: no row has a negative number, and each adds up to 1.",
        "Import them with --scale probabilities, in Python MarginRectifier(scores="
        "'probabilities'), which takes their logarithm.",
    )


def copied_views(views: Sequence[Rows], kinds: Sequence[str]) -> Finding | None:
    """R13: views of training rows that are each other's copies.

    Args:
        views: of some rows, one array a view.
        kinds: `clean` or `augmented`, by view.
    """
    copies = [
        (first, second)
        for second in range(len(views))
        for first in range(second)
        if np.array_equal(views[first], views[second])
    ]
    if not copies:
        return None
    told = ", ".join(
        f"{second} ({kinds[second]}) of {first} ({kinds[first]})" for first, second in copies
    )
    return Finding(
        "R13",
        f"Views of the training rows are copies: {told}.",
        "Was augmentation on when they were made? Copies only cost time.",
    )


def shared_ids(train: Rows, test: Rows) -> Finding | None:
    """R14: ids (N,) and (M,) that are in both splits."""
    return _shared(int(np.isin(test, train).sum()), len(test), "ids")


def shared_rows(train: Rows, test: Rows, *, what: str) -> Finding | None:
    """R14: rows (N, W) and (M, W), of `what`, that are in both splits.

    Rows of fewer than four numbers meet by chance. So do those that are not alone in their own
    split, as the scores of trees are, and they do not count.
    """
    if train.shape[1] < TELLING_WIDTH:
        return None
    (first, of_first), (second, of_second) = (_alone(row_keys(rows)) for rows in (train, test))
    _, one, other = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    same = (train[of_first[one]] == test[of_second[other]]).all(axis=1)
    return _shared(int(same.sum()), len(test), what)


def row_keys(rows: Rows) -> npt.NDArray[np.float64]:
    """(N,) alike where rows are; a few columns, since reading all of every row would take long."""
    width = rows.shape[1]
    columns = np.unique(np.linspace(0, width - 1, 2 * TELLING_WIDTH).astype(np.int64))
    keys = np.zeros(len(rows))
    for place, column in enumerate(columns.tolist()):
        keys += np.sqrt(place + 2) * rows[:, column].astype(np.float64)
    return keys


def _alone(keys: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Keys that come once, and their places."""
    values, places, counts = np.unique(keys, return_index=True, return_counts=True)
    return values[counts == 1], places[counts == 1]


def _shared(count: int, num_test: int, what: str) -> Finding | None:
    if not count:
        return None
    return Finding(
        "R14",
        f"{count:,} of {num_test:,} test rows are training rows too, by their {what}.",
        "Their accuracy is that of memory; take them out of one of the splits.",
    )


def constant_rows(rows: Rows) -> Finding | None:
    """R16: rows (N, W) with one and the same number throughout."""
    first = rows[:, 0]
    # Next to no row of a network passes this, and reading all of every row would take long.
    places = np.flatnonzero(first == rows[:, -1])
    constant = [row for row in places.tolist() if (rows[row] == first[row]).all()]
    if not constant or rows.shape[1] == 1:
        return None
    return Finding(
        "R16",
        f"{len(constant):,} training rows have one and the same number for every column (first: "
        f"row {constant[0]:,}, {float(first[constant[0]]):g}).",
        "They tell nothing of any class: was a sample empty or unreadable? Leave them out.",
    )


def one_vector(rows: Rows) -> Finding | None:
    """R17: many training rows (N, W) that are identical; those of small trees' two scores are."""
    if rows.shape[1] < TELLING_WIDTH:
        return None
    fewest = max(SHARED_ROWS, SHARED_SHARE * len(rows))
    _, group, counts = np.unique(row_keys(rows), return_inverse=True, return_counts=True)
    for place in np.flatnonzero(counts >= fewest).tolist():
        alike = np.flatnonzero(group == place)
        model = rows[alike[0]]
        count = int((rows[alike] == model).all(axis=1).sum())
        if count >= fewest and not (model == model[0]).all():
            return Finding(
                "R17",
                f"{count:,} of {len(rows):,} training rows are identical (first: row "
                f"{alike[0]:,}).",
                "Was one sample repeated, were scores rounded, or did the network see the same "
                "input again and again? Check the loop that made them.",
            )
    return None
