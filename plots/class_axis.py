"""The class axis of the figures: classes from head to tail, and the groups along it.

K classes. Rank 0 is the class with most training images; equal counts keep the order of class ids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.style import shorten

SMOOTHED_SHARE = 0.05  # of the classes, in one window
NAME_LENGTH = 14  # characters of a class name that a tick has room for
MAX_SINGLE_CLASSES = 50  # beyond it markers touch, and a running mean carries the eye


@dataclass(frozen=True, kw_only=True)
class GroupSpan:
    """A run of neighbouring ranks, `start` to `stop` exclusive, whose classes share a group."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassAxis:
    """Which class stands where, checked once for all figures.

    Attributes:
        class_counts: (K,) int64 training images per class id.
        groups: name to members (K,) bool; every class is in exactly one, a group may be empty.
        class_names: K names by class id, or None.

    Raises:
        PlotError: a shape, a type or the partition into groups is wrong.
    """

    class_counts: npt.NDArray[np.int64]
    groups: Mapping[str, npt.NDArray[np.bool_]]
    class_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        counts = self.class_counts
        if counts.ndim != 1 or not len(counts) or counts.dtype.kind not in "iu" or counts.min() < 0:
            raise PlotError(
                "class_counts: K >= 1 integers of at least 0 in one dimension expected, "
                f"got shape {counts.shape} of {counts.dtype}; pass the training images per class"
            )
        for name, members in self.groups.items():
            if members.shape != counts.shape or members.dtype != np.bool_:
                raise PlotError(
                    f"groups[{name!r}]: {counts.shape} bool expected, got {members.shape} of "
                    f"{members.dtype}; pass one flag per class"
                )
        memberships = sum((m.astype(np.int64) for m in self.groups.values()), np.zeros_like(counts))
        if (memberships != 1).any():
            wrong = int(np.flatnonzero(memberships != 1)[0])
            raise PlotError(
                "groups: every class in exactly one group expected, got class "
                f"{wrong} in {memberships[wrong]}; pass groups that divide the classes"
            )
        if self.class_names is not None and len(self.class_names) != len(counts):
            raise PlotError(
                f"class_names: {len(counts)} names expected, got {len(self.class_names)}; "
                "pass one name per class or none at all"
            )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_counts)

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """Class ids (K,) from head to tail."""
        return np.argsort(-self.class_counts.astype(np.int64), kind="stable")

    @cached_property
    def group_names(self) -> list[str]:
        """The group of each class, K names by class id."""
        names = [""] * self.num_classes
        for name, members in self.groups.items():
            for class_id in np.flatnonzero(members):
                names[class_id] = name
        return names

    @cached_property
    def spans(self) -> list[GroupSpan]:
        """The runs of equal group from head to tail; together they cover ranks 0 to K."""
        spans: list[GroupSpan] = []
        for name, run in groupby(self.group_names[class_id] for class_id in self.order):
            start = spans[-1].stop if spans else 0
            spans.append(GroupSpan(name=name, start=start, stop=start + len(list(run))))
        return spans

    @property
    def labelled_spans(self) -> list[GroupSpan]:
        """The longest run of each group that has members, from head to tail."""
        longest: dict[str, GroupSpan] = {}
        for span in sorted(self.spans, key=lambda span: span.start - span.stop):
            longest.setdefault(span.name, span)
        return sorted(longest.values(), key=lambda span: span.start)

    @property
    def is_smoothed(self) -> bool:
        """Whether curves over the classes show a running mean."""
        return self.num_classes > MAX_SINGLE_CLASSES

    @property
    def names(self) -> Sequence[str]:
        """K names by class id, empty ones where there are none."""
        return self.class_names or [""] * self.num_classes

    def tick_labels(self) -> list[str]:
        """K short labels from head to tail: the names, or the class ids where there are none."""
        labels = self.class_names or [str(class_id) for class_id in range(self.num_classes)]
        return [shorten(labels[class_id], length=NAME_LENGTH) for class_id in self.order]


def smoothing_window(num_classes: int) -> int:
    """Classes in one running mean: 5 % of them, odd, at least 3."""
    return 2 * max(1, round(SMOOTHED_SHARE * num_classes / 2)) + 1


def running_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean (K,) of the `smoothing_window` values around each one, without those that are NaN.

    At both ends the window is cut off; it never looks beyond them. NaN where it holds no value.
    """
    window = np.ones(smoothing_window(len(values)))
    is_known = ~np.isnan(values)
    middle = slice(len(window) // 2, len(window) // 2 + len(values))
    sums = np.convolve(np.where(is_known, values, 0.0), window)[middle]
    num_known = np.convolve(is_known.astype(np.float64), window)[middle]
    means = np.full(len(values), np.nan)
    np.divide(sums, num_known, out=means, where=num_known > 0.5)
    return means
