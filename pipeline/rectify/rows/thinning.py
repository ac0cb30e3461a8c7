"""A few rows of every class that stand for all of them.

R rows, K classes, n_j rows of class j. Of each class min(n_j, rows_per_class) rows are kept, evenly
spaced, and each counts n_j / kept_j times, so that a sum over the kept rows estimates the sum over
all. Under class weights n^-gamma rare classes carry as much of the loss as frequent ones: a plain
random sample would miss most of what matters.
"""

import torch
from torch import Tensor

LEAST_ROWS = 2000
"""Of a thinned problem: few classes can afford more rows of each."""
WORTH_FROM = 3
"""Thin only to a third of the rows or less."""


def least_rows_per_class(num_classes: int, least: int) -> int:
    """Rows of each of K classes, at least so many, of the smallest thinned problem."""
    return max(least, -(-LEAST_ROWS // num_classes))


def is_worth_it(num_kept: int, num_rows: int) -> bool:
    """Whether so few of the rows save enough to be taken in their place."""
    return WORTH_FROM * num_kept <= num_rows


def thin_rows(labels: Tensor, num_classes: int, rows_per_class: int) -> tuple[Tensor, Tensor]:
    """Rows to keep, and how many each stands for.

    Args:
        labels: (R,) int64.
        num_classes: K.
        rows_per_class: at least 1.

    Returns:
        Rows (M,) int64 in the order of classes, and (K,) float64 rows that one kept row of each
        class stands for; 1 for a class without rows.
    """
    by_class = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels, minlength=num_classes)
    kept = counts.clamp(max=rows_per_class)
    of_class = torch.repeat_interleave(kept)
    first = (counts.cumsum(0) - counts)[of_class]
    rows = by_class[first + class_positions(of_class) * counts[of_class] // kept[of_class]]
    return rows, torch.where(kept > 0, counts / kept.clamp(min=1), 1.0).double()


def class_positions(labels: Tensor) -> Tensor:
    """How many samples before each one share its label: 0, 1, 2, ... within each class.

    Args:
        labels: (N,) int64 classes.

    Returns:
        (N,) int64 in 0..n_j-1 for a class of n_j samples.
    """
    by_class = torch.argsort(labels, stable=True)
    sizes = torch.bincount(labels)
    first = sizes.cumsum(0) - sizes
    positions = torch.empty_like(labels)
    positions[by_class] = torch.arange(len(labels)) - first[labels[by_class]]
    return positions
