"""What a confusion matrix says: where each class's images went, and how often it is right.

K classes; a matrix counts images (K, K) by true class (row) and predicted class (column).
"""

import numpy as np
import numpy.typing as npt

from marr_pipeline.plots.class_axis import ClassAxis


def row_shares(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Share (K, K) of each row's images in each of its cells; NaN in a row without images."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.full(matrix.shape, np.nan)
    np.divide(matrix, totals, out=shares, where=totals > 0)
    return shares


def group_accuracies(matrix: npt.NDArray[np.int64], axis: ClassAxis) -> dict[str, float]:
    """Accuracy by group and overall.

    A group's is the mean over its classes that have images, NaN if none has; a group without any
    class is left out. `overall` is the share of all images that are right.
    """
    accuracy = np.diagonal(row_shares(matrix))
    result: dict[str, float] = {}
    for name, members in axis.groups.items():
        known = accuracy[members & ~np.isnan(accuracy)]
        if members.any():
            result[name] = float(known.mean()) if len(known) else float("nan")
    total = int(matrix.sum())
    result["overall"] = float(np.trace(matrix)) / total if total else float("nan")
    return result
