"""A last look at what came in: rows that a fit would go through without an error, and be wrong."""

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache import Cache
from marr_pipeline.report import checks, rows
from marr_pipeline.report.checks import Finding

Counts = npt.NDArray[np.int64]

TINY = float(np.finfo(np.float32).tiny)
LOOKED_AT = 8_192
"""Rows whose accuracy is asked."""


def last_look(cached: Cache) -> list[str]:
    """What of a cache's training rows a fit would go through without an error, and be wrong.

    Takes a few rows of each class for their accuracy, and a few columns of each row of the clean
    view, or the first, for constants and copies.
    """
    if "train" not in cached.splits:
        return []
    split = cached.split("train")
    stored = split.logits if split.logits is not None else split.features
    assert stored is not None
    view = stored[split.clean_view]
    chosen = _some_of_each_class(split.labels, max(1, LOOKED_AT // cached.num_classes))
    scores = view[chosen]
    head = cached.head
    if split.logits is None and head is not None and head.weight is not None:
        if head.normalise == "unit":
            scores = scores.astype(np.float32)
            scores /= np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), TINY)
        scores = scores @ head.weight.T
        scores += 0 if head.bias is None else head.bias
    found = [rows.constant_rows(view), rows.one_vector(view)]
    if head is not None and scores.shape[1] == cached.num_classes:
        found.append(order_finding(split.labels[chosen], scores.argmax(1), cached.num_classes))
    return [f"{one.code}: {one.sentence} {one.remedy}" for one in found if one is not None]


def order_finding(labels: Counts, predicted: Counts, num_classes: int) -> Finding | None:
    """Of classes in another order, the more telling of both."""
    moved = checks.other_order(labels, predicted)
    return moved or checks.at_chance(labels, predicted, num_classes)


def _some_of_each_class(labels: Counts, most: int) -> npt.NDArray[np.intp]:
    """Rows spread over those of each class, about `most` of it at most."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    step = -(-sizes // most)
    return np.sort(order[rank % np.repeat(np.maximum(step, 1), sizes) == 0])
