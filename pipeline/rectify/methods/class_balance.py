"""Classes that count alike: by drawing them alike, as released code does, or exactly.

In expectation a batch of class-balanced sampling has the loss sum_i U_{y_i} CE_i / sum_i U_{y_i}
over all rows, with U_j ~ 1 / n_j: the weighted mean with gamma 1. It has a minimum, sampling has
noise around it.
"""

from collections.abc import Mapping
from typing import Any

CLASS_BALANCED: Mapping[str, Any] = {
    "gamma": 1.0,
    "reduction": "weighted",
    "center": "zero",
    "l2": 5e-4,
}
"""The exact form."""

CLASS_BALANCED_SAMPLING: Mapping[str, Any] = {
    "optimizer": "sgd",
    "sampling": "class-balanced",
    "gamma": 0.0,
    "reduction": "plain",
    "center": "zero",
    "l2": 5e-4,
}
"""The released codes' (Kang et al. 2020)."""
