"""Whether a sample is the first of its class, the second, and so on.

N samples in any order. What shares out every class evenly, however rare, goes by this number.
"""

import torch
from torch import Tensor


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
