"""The class axis of the figures: classes from head to tail, and what stands along it.

K classes. Rank 0 is the class with most training images; equal counts keep the order of class ids.
The class of rank r is drawn at r. Along the axis stand the groups, the training images per class,
and the names of the classes or some of their ranks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nlargest
from itertools import groupby, pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.smoothing import smoothing_window
from marr_pipeline.plots.style import BAND, FADED, PALE, SMALL, SPINE, shorten, text_width

NAME_LENGTH = 14  # characters of a class name that a tick has room for
MAX_SINGLE_CLASSES = 50  # beyond it markers touch, and a running mean carries the eye
LABEL_GAP = 4.0  # points kept free between two labels
MAX_UNBANDED_CLASSES = 200  # beyond it lines of single classes run together to hatching
MAX_NAMED_CLASSES = 40  # that have their names along the axis unless it is asked otherwise
MAX_NUMBERED_CLASSES = 16  # the same of ids, where there are no names
NAME_PITCH = 8.0  # points from one upright name of 7 points to the next


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
        is_named: whether they, or ids in their place, stand along the axis; None for up to 40
            names or 16 ids.
        unit: what is counted, for labels.

    Raises:
        PlotError: a shape, a type or the partition into groups is wrong.
    """

    class_counts: npt.NDArray[np.int64]
    groups: Mapping[str, npt.NDArray[np.bool_]]
    class_names: Sequence[str] | None = None
    is_named: bool | None = None
    unit: str = "images"

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
    def is_banded(self) -> bool:
        """Whether curves show quartiles in place of single classes."""
        return self.num_classes > MAX_UNBANDED_CLASSES

    @property
    def shows_names(self) -> bool:
        """Whether names or ids of classes stand along the axis."""
        most = MAX_NUMBERED_CLASSES if self.class_names is None else MAX_NAMED_CLASSES
        return self.num_classes <= most if self.is_named is None else self.is_named

    def is_crowded(self, length: float) -> bool:
        """Whether `length` points are too short for the names that are to stand along them."""
        return self.shows_names and self.num_classes * NAME_PITCH > length

    @property
    def names(self) -> Sequence[str]:
        """K names by class id, empty ones where there are none."""
        return self.class_names or [""] * self.num_classes

    def tick_labels(self) -> list[str]:
        """K short labels from head to tail: the names, or the class ids where there are none."""
        labels = self.class_names or [str(class_id) for class_id in range(self.num_classes)]
        return [shorten(labels[class_id], length=NAME_LENGTH) for class_id in self.order]


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
        axes.set_ylabel(f"train\n{axis.unit}", fontsize=SMALL)
    else:
        axes.tick_params(labelleft=False)
    axes.set_xlim(-0.5, axis.num_classes - 0.5)
    window = smoothing_window(axis.num_classes)
    note = f"\n{means_are}: mean of {window} ranks" if axis.is_smoothed else ""
    note += "\nband: their quartiles" if axis.is_banded else ""
    if axis.shows_names:
        naming = name_classes(axes, axis, length=length)
        is_said = naming or note or axis.class_names is None
        what = "class id" if axis.class_names is None else "class"
        axes.set_xlabel(f"{what}, head to tail{naming}{note}" if is_said else "")
        return
    ranks = round_ranks(axis.num_classes)
    axes.set_xticks([rank - 1 for rank in ranks], [str(rank) for rank in ranks])
    axes.set_xlabel(f"class rank, head to tail{note}")


def _short_count(value: float, _position: int | None) -> str:
    """1, 10, 100, 1k, 10k."""
    return f"{value / 1000:.0f}k" if value >= 1000 else f"{value:.0f}"


def readable(places: Sequence[float] | npt.NDArray[np.floating]) -> list[int]:
    """Indices of ascending places in points, from the first, at which upright names stay apart."""
    found: list[int] = []
    for i, place in enumerate(places):
        if not found or place - places[found[-1]] >= NAME_PITCH:
            found.append(i)
    return found


def naming_note(num_named: int, num_classes: int) -> str:
    """`, 50 of 100 named`, for the label of the axis; nothing where all are."""
    return f", {num_named} of {num_classes:,} named" if num_named < num_classes else ""


def name_classes(
    axes: Axes, axis: ClassAxis, *, length: float, side: Literal["bottom", "left"] = "bottom"
) -> str:
    """The names or ids of the classes along `length` points, as many as can be read.

    Under the axis they are upright if they are too wide. Returns what `naming_note` says of them.
    """
    labels = axis.tick_labels()
    ranks = readable(np.arange(axis.num_classes) * length / axis.num_classes)
    shown = [labels[rank] for rank in ranks]
    if side == "left":
        axes.set_yticks(ranks, shown)
    else:
        is_upright = names_width(axis) > 0.9 * length / axis.num_classes
        axes.set_xticks(ranks, shown, rotation=90 if is_upright else 0)
    return naming_note(len(ranks), axis.num_classes)


def names_width(axis: ClassAxis) -> float:
    """Points of the widest of the `tick_labels`, of many the longest; call inside `look()`."""
    longest = nlargest(MAX_NAMED_CLASSES, axis.tick_labels(), key=len)
    return max(text_width(label, size=SMALL) for label in longest)


def round_ranks(num_classes: int) -> list[int]:
    """At most six ranks to mark: 1 and the multiples of a round step, 1-based."""
    decade = 10 ** math.floor(math.log10(num_classes))
    steps = (decade * factor / 20 for factor in (1, 2, 4, 5, 10, 20, 40))
    step = next(s for s in steps if s == int(s) and s > 1 and num_classes / s <= 5)
    return sorted({1, *range(int(step), num_classes + 1, int(step))})
