"""The class axis of the figures: classes from head to tail, and what stands along it.

K classes. Rank 0 is the class with most training images; equal counts keep the order of class ids.
The class of rank r is drawn at r. Along the axis stand the groups, the training images per class,
and the names of the classes or some of their ranks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.style import BAND, FADED, PALE, SMALL, SPINE, shorten, text_width

SMOOTHED_SHARE = 0.05  # of the classes, in one window
NAME_LENGTH = 14  # characters of a class name that a tick has room for
MAX_SINGLE_CLASSES = 50  # beyond it markers touch, and a running mean carries the eye
LABEL_GAP = 4.0  # points kept free between two labels
MAX_NAMED_CLASSES = 16  # that many upright names of 7 points fit side by side under a panel


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

    @cached_property
    def edges(self) -> list[float]:
        """Where spans begin and the last one ends: S + 1 places between the ranks."""
        return [*(span.start - 0.5 for span in self.spans), self.num_classes - 0.5]

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


def known_mean(values: npt.NDArray[np.floating]) -> float:
    """Mean of the values that are not NaN; NaN where all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


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


def spread_labels(
    centers: Sequence[float], widths: Sequence[float], *, length: float
) -> list[float]:
    """Positions near `centers` at which labels on a line of `length` do not overlap.

    Args:
        centers: wanted positions, ascending, in points.
        widths: width of each label, in points.
        length: length of the line; labels stay inside it unless all of them do not fit.

    Returns:
        One position a label, ascending.
    """
    positions = list(centers)
    floor = 0.0
    for i, width in enumerate(widths):
        positions[i] = max(positions[i], floor + width / 2)
        floor = positions[i] + width / 2 + LABEL_GAP
    ceiling = length
    for i in reversed(range(len(widths))):
        positions[i] = min(positions[i], ceiling - widths[i] / 2)
        ceiling = positions[i] - widths[i] / 2 - LABEL_GAP
    return positions


def draw_groups(
    axes: Axes, axis: ClassAxis, *, length: float, edges: Sequence[float] | None = None
) -> None:
    """Shade every other group, draw a thin line where two meet, and name them over the panel.

    Args:
        axes: where.
        axis: the classes and their groups.
        length: of the horizontal axis, in points.
        edges: x at which spans begin and the last one ends; None for those between ranks.
    """
    edges = edges or axis.edges
    for i, (left, right) in enumerate(pairwise(edges)):
        if i % 2 == 0:
            axes.axvspan(left, right, color=BAND, linewidth=0, zorder=0)
        if i > 0:
            axes.axvline(left, color=PALE, linewidth=0.6, zorder=0.5)
    label_groups(axes, axis, side="top", length=length, edges=edges)


def rule_groups(axes: Axes, axis: ClassAxis) -> None:
    """Draw the lines between groups on both axes of a matrix."""
    for span in axis.spans[1:]:
        axes.axvline(span.start - 0.5, color=SPINE, linewidth=0.5)
        axes.axhline(span.start - 0.5, color=SPINE, linewidth=0.5)


def label_groups(
    axes: Axes,
    axis: ClassAxis,
    *,
    side: Literal["top", "bottom", "left"],
    length: float,
    edges: Sequence[float] | None = None,
) -> None:
    """Write the name of each group that has members beside its part of the axis.

    Args:
        axes: where.
        axis: the classes and their groups.
        side: edge of `axes` outside which the names stand.
        length: length of that edge in points, by which names are kept apart.
        edges: as for `draw_groups`.
    """
    spans = axis.labelled_spans
    edges = edges or axis.edges
    scale = length / (edges[-1] - edges[0])
    ends = [edges[i : i + 2] for i in map(axis.spans.index, spans)]
    positions = spread_labels(
        [(sum(pair) / 2 - edges[0]) * scale for pair in ends],
        [text_width(span.name, size=SMALL) for span in spans],
        length=length,
    )
    ranks = [position / scale + edges[0] for position in positions]
    names = [span.name for span in spans]
    if side == "left":
        axes.set_yticks(ranks, names, rotation=90, va="center", color=FADED)
        axes.tick_params(axis="y", length=0)
    elif side == "bottom":
        axes.set_xticks(ranks, names, color=FADED)
        axes.tick_params(axis="x", length=0)
    else:
        for rank, name in zip(ranks, names, strict=True):
            write_above(axes, rank, name)


def write_above(axes: Axes, x: float, text: str) -> None:
    """A small name over the upper edge, at x of the data."""
    axes.annotate(
        text,
        (x, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0.0, 2.0),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=SMALL,
        color=FADED,
    )


def draw_foot(
    axes: Axes, axis: ClassAxis, *, length: float, means_are: str, is_labelled: bool
) -> None:
    """A grey profile of the training images per class on a log scale, and under it the classes.

    Args:
        axes: a low strip under the curves.
        axis: the classes; one without training images leaves a gap.
        length: of the class axis, in points.
        means_are: what running means look like, for a note where there are any.
        is_labelled: whether the vertical axis says what it shows.
    """
    counts = axis.class_counts[axis.order]
    present = counts[counts > 0]
    low, high = (int(present.min()), int(present.max())) if len(present) else (1, 1)
    decades = [10 ** math.floor(math.log10(count)) for count in (low, high)]
    bottom = 0.7 * decades[0]
    axes.stairs(
        np.maximum(counts, bottom),
        np.arange(axis.num_classes + 1) - 0.5,
        baseline=bottom,
        fill=True,
        color=PALE,
        linewidth=0,
    )
    axes.set_yscale("log")
    axes.set_ylim(bottom, 1.4 * high)
    axes.set_yticks(sorted(set(decades)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_short_count))
    if is_labelled:
        axes.set_ylabel("train\nimages", fontsize=SMALL)
    else:
        axes.tick_params(labelleft=False)
    axes.set_xlim(-0.5, axis.num_classes - 0.5)
    if axis.num_classes <= MAX_NAMED_CLASSES:
        name_classes(axes, axis, length=length)
        axes.set_xlabel("class id, head to tail" if axis.class_names is None else "")
        return
    ranks = round_ranks(axis.num_classes)
    axes.set_xticks([rank - 1 for rank in ranks], [str(rank) for rank in ranks])
    window = smoothing_window(axis.num_classes)
    note = f"\n{means_are}: mean of {window} ranks" if axis.is_smoothed else ""
    axes.set_xlabel(f"class rank, head to tail{note}")


def _short_count(value: float, _position: int | None) -> str:
    """1, 10, 100, 1k, 10k."""
    return f"{value / 1000:.0f}k" if value >= 1000 else f"{value:.0f}"


def name_classes(axes: Axes, axis: ClassAxis, *, length: float) -> None:
    """The name or id of every class under its place on `length` points, upright if too wide."""
    labels = axis.tick_labels()
    widest = max(text_width(label, size=SMALL) for label in labels)
    is_upright = widest > 0.9 * length / axis.num_classes
    axes.set_xticks(range(axis.num_classes), labels, rotation=90 if is_upright else 0)


def round_ranks(num_classes: int) -> list[int]:
    """At most six ranks to mark: 1 and the multiples of a round step, 1-based."""
    decade = 10 ** math.floor(math.log10(num_classes))
    steps = (decade * factor / 20 for factor in (1, 2, 4, 5, 10, 20, 40))
    step = next(s for s in steps if s == int(s) and s > 1 and num_classes / s <= 5)
    return sorted({1, *range(int(step), num_classes + 1, int(step))})
