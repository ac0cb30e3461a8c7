"""Marks of the groups many | medium | few along a class axis whose rank r is drawn at r."""

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes

from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.style import BAND, FADED, PALE, SMALL, SPINE, text_width

LABEL_GAP = 4.0  # points kept free between two labels


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


def shade_groups(axes: Axes, axis: ClassAxis) -> None:
    """Shade every other group and draw a thin line where two groups meet."""
    for i, span in enumerate(axis.spans):
        if i % 2 == 0:
            axes.axvspan(span.start - 0.5, span.stop - 0.5, color=BAND, linewidth=0, zorder=0)
        if i > 0:
            axes.axvline(span.start - 0.5, color=PALE, linewidth=0.6, zorder=0.5)


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
            axes.annotate(
                name,
                (rank, 1.0),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0.0, 2.0),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=SMALL,
                color=FADED,
            )
