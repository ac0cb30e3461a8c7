"""What sets of labels are worth: how often they hold the label, and how large they are.

N rows, K classes. A class without rows, or a group without such a class, is NaN.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.groups import PAPER_CUTS, Cuts, shot_groups
from marr_pipeline.report.metrics import group_mean
from marr_pipeline.report.tables import Column, Estimate, Table

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

SURE = 3.0
"""Standard deviations from what chance does to shares, beyond which they are other shares."""

SET_COLUMNS = (
    Column(key="coverage", heading="covered"),
    Column(key="macro", heading="macro"),
    Column(key="many", heading="many"),
    Column(key="medium", heading="medium"),
    Column(key="few", heading="few"),
    Column(key="mean_size", heading="mean size", notation="decimal"),
    Column(key="median_size", heading="median", notation="count"),
    Column(key="empty", heading="empty"),
)


@dataclass(frozen=True, kw_only=True)
class SetMetrics:
    """The sets of one classifier on one split.

    Attributes:
        coverage: share of rows whose set holds their label.
        macro: mean over classes of their shares.
        many: mean of those over the group, like `medium` and `few`.
        mean_size: labels in a set.
        median_size: likewise.
        empty: share of rows without a label in their set.
        per_class: (K,) share of each class.
    """

    coverage: float
    macro: float
    many: float
    medium: float
    few: float
    mean_size: float
    median_size: float
    empty: float
    per_class: Floats

    def record(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON."""
        return {**vars(self), "per_class": self.per_class.tolist()}


def measure_sets(
    is_covered: npt.NDArray[np.bool_],
    sizes: Counts,
    labels: Counts,
    class_counts: Counts,
    *,
    cuts: Cuts = PAPER_CUTS,
) -> SetMetrics:
    """Metrics of N sets.

    Args:
        is_covered: (N,) whether a set holds its row's label.
        sizes: (N,) labels in it.
        labels: (N,).
        class_counts: (K,) of the training list, which makes the groups.
        cuts: between the groups.
    """
    samples = np.bincount(labels, minlength=len(class_counts))
    covered = np.bincount(labels, is_covered, len(class_counts))
    per_class = np.divide(
        covered, samples, out=np.full(len(samples), np.nan), where=samples > 0, dtype=np.float64
    )
    present = samples > 0
    groups = {
        name: float(group_mean(per_class, members & present))
        for name, members in shot_groups(class_counts, cuts).items()
    }
    return SetMetrics(
        coverage=float(is_covered.mean()),
        macro=float(per_class[present].mean()),
        mean_size=float(sizes.mean()),
        median_size=float(np.median(sizes)),
        empty=float((sizes == 0).mean()),
        per_class=per_class,
        **groups,
    )


def table_of_sets(rows: Mapping[str, SetMetrics], caption: str = "") -> Table:
    """One row a classifier: coverage in per cent, sizes in labels."""
    cells = {
        name: {column.key: Estimate(value=getattr(found, column.key)) for column in SET_COLUMNS}
        for name, found in rows.items()
    }
    return Table(columns=SET_COLUMNS, rows=cells, caption=caption)


def have_other_shares(one: Counts, other: Counts, num_classes: int) -> bool:
    """Whether two samples of labels (N,) and (M,) differ in their shares by more than chance does.

    By Pearson's statistic of homogeneity against its mean and deviation.
    """
    found = np.stack([np.bincount(labels, minlength=num_classes) for labels in (one, other)])
    found = found[:, found.sum(0) > 0].astype(np.float64)
    expected = found.sum(1, keepdims=True) * found.sum(0) / found.sum()
    statistic = float(((found - expected) ** 2 / expected).sum())
    freedom: int = found.shape[1] - 1
    return bool(statistic > freedom + SURE * math.sqrt(2 * freedom))
