"""What stands along a class axis: the groups, the training images per class, ticks of the ranks.

The class of rank r is drawn at r.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from marr_pipeline.plots.class_axis import ClassAxis, smoothing_window
from marr_pipeline.plots.style import BAND, FADED, PALE, SMALL, SPINE, text_width

LABEL_GAP = 4.0  # points kept free between two labels
MAX_NAMED_CLASSES = 16  # that many upright names of 7 points fit side by side under a panel


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


def draw_groups(axes: Axes, axis: ClassAxis, *, length: float) -> None:
    """Shade every other group, draw a thin line where two meet, and name them over the panel."""
    for i, span in enumerate(axis.spans):
        if i % 2 == 0:
            axes.axvspan(span.start - 0.5, span.stop - 0.5, color=BAND, linewidth=0, zorder=0)
        if i > 0:
            axes.axvline(span.start - 0.5, color=PALE, linewidth=0.6, zorder=0.5)
    label_groups(axes, axis, side="top", length=length)


def rule_groups(axes: Axes, axis: ClassAxis) -> None:
    """Draw the lines between groups on both axes of a matrix."""
    for span in axis.spans[1:]:
        axes.axvline(span.start - 0.5, color=SPINE, linewidth=0.5)
        axes.axhline(span.start - 0.5, color=SPINE, linewidth=0.5)


def label_groups(
    axes: Axes, axis: ClassAxis, *, side: Literal["top", "bottom", "left"], length: float
) -> None:
    """Write the name of each group that has members beside its part of the axis.

    Args:
        axes: where; rank r lies at data coordinate r.
        axis: the classes and their groups.
        side: edge of `axes` outside which the names stand.
        length: length of that edge in points, by which names are kept apart.
    """
    spans = axis.labelled_spans
    scale = length / axis.num_classes
    positions = spread_labels(
        [(span.start + span.stop) / 2 * scale for span in spans],
        [text_width(span.name, size=SMALL) for span in spans],
        length=length,
    )
    ranks = [position / scale - 0.5 for position in positions]
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
