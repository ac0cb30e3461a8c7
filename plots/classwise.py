"""Accuracy and F1 of each class before and after, from head to tail, beside the mean (Figure 6).

K classes. The accuracy of a class is the share of its images that are right, its recall; its F1 is
the harmonic mean of that and of the share of its predictions that are right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marr_pipeline.plots.class_axis import (
    LABEL_GAP,
    ClassAxis,
    draw_foot,
    draw_groups,
    names_width,
    spread_labels,
    write_above,
)
from marr_pipeline.plots.class_values import (
    FRACTION,
    ClassValues,
    Values,
    check_series,
    class_table,
)
from marr_pipeline.plots.save import Drawing
from marr_pipeline.plots.smoothing import running_mean, running_quartiles
from marr_pipeline.plots.style import (
    COLUMN_WIDTH,
    PALE,
    PAPER_WIDTH,
    POINTS_PER_INCH,
    SERIES_COLORS,
    SMALL,
    SPINE,
    TEXT_WIDTH,
    Width,
    legend_figure,
    look,
    percent,
    series_mark,
)

SIDE_BY_SIDE = 0.355 * TEXT_WIDTH  # inches of a panel, nearly
STACKED = {"page": 0.85 * TEXT_WIDTH, "column": 0.70 * COLUMN_WIDTH}
PANEL, FOOT, STRIP = 1.6, 0.24, 0.5  # inches: height of a panel, of the counts; width of the means
SPREAD = 0.62  # of a class's width, over which its marks stand side by side
NUMBER_HEIGHT = 8.0  # points from one mean to the next
LIMITS = (-4.0, 104.0)  # per cent; marks at 0 and 100 stay whole


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassScores(ClassValues):
    """What one method is worth on each class. All are fractions.

    Attributes:
        accuracy: (K,) of each class's images.
        f1: (K,) of each class.
        overall: accuracy of all images.
        macro_f1: mean of `f1` over the classes that have images.
    """

    LIMITS: ClassVar = dict.fromkeys(("accuracy", "f1", "overall", "macro_f1"), FRACTION)

    accuracy: Values
    f1: Values
    overall: float
    macro_f1: float


PANELS = (
    ("accuracy", "class accuracy (%)", "overall", "overall"),
    ("f1", "class F1 (%)", "macro_f1", "macro-F1"),
)
"""A quantity, what its axis says, the field of its mean, and what stands over the means."""
ACROSS, DOWN = "AaFf;c.d.", "Aa;Ff;c."
"""Accuracy and F1, the strip of means beside each, and the counts at the foot."""


def draw_classwise(
    axis: ClassAxis, scores: Mapping[str, ClassScores], *, width: Width = "page"
) -> Drawing:
    """Accuracy and F1 of each class from head to tail, and to the right of each its mean.

    Up to 50 classes the methods stand side by side over each class, joined by a line from one to
    the next; beyond, each is a running mean (`running_mean`) through the faint dots of the single
    classes, and beyond 200 through the band between their running quartiles. A strip at the foot
    shows the training images per class. The panels stand one below the other where the names of
    the classes need the length.

    Args:
        axis: the K classes.
        scores: name of a method to its scores, 1 to 8 of them, the one before first.
        width: of both columns of a paper with the panels side by side, or of one with F1 below.

    Returns:
        The figure, and the `class_table` of the scores.

    Raises:
        PlotError: shapes differ, or there is no series or too many to tell apart.
    """
    check_series("scores", scores, axis)
    is_stacked = width == "column" or axis.is_crowded(SIDE_BY_SIDE * POINTS_PER_INCH)
    inches = STACKED[width] if is_stacked else SIDE_BY_SIDE
    length = inches * POINTS_PER_INCH
    with look():
        figure, places = _lay_out(list(scores), axis, width, inches, is_stacked=is_stacked)
        for (quantity, label, mean, mean_label), main, strip in zip(
            PANELS, "AF", "af", strict=True
        ):
            values = [100 * series.by_rank(quantity, axis) for series in scores.values()]
            draw_groups(places[main], axis, length=length)
            _draw_classes(places[main], axis, values, length=length)
            places[main].set_ylabel(label)
            means = [100 * getattr(series, mean) for series in scores.values()]
            _draw_means(places[strip], means, label=mean_label)
        for foot in "c" if is_stacked else "cd":
            draw_foot(places[foot], axis, length=length, means_are="lines", is_labelled=foot == "c")
        figure.align_ylabels([places[name] for name in ("AFc" if is_stacked else "Ac")])
    return Drawing(figure, class_table(axis, scores))


def _lay_out(
    names: list[str], axis: ClassAxis, width: Width, length: float, *, is_stacked: bool
) -> tuple[Figure, dict[str, Axes]]:
    """The paper with its legend, and the axes by their letter in `ACROSS` or `DOWN`."""
    height = 4.1 if is_stacked else 2.45
    if axis.is_crowded(length * POINTS_PER_INCH) or (is_stacked and width == "page"):
        height += names_width(axis) / POINTS_PER_INCH
    is_line = axis.is_smoothed
    marks = [(name, series_mark(i, is_line=is_line)) for i, name in enumerate(names)]
    figure = legend_figure(PAPER_WIDTH[width], height, marks, handle=2.6 if is_line else 1.0)
    places = figure.subplot_mosaic(
        DOWN if is_stacked else ACROSS,
        height_ratios=[PANEL, PANEL, FOOT] if is_stacked else [PANEL, FOOT],
        width_ratios=[length, STRIP] * (1 if is_stacked else 2),
    )
    for main in "AF":
        places[main].tick_params(axis="x", bottom=False, labelbottom=False)
    return figure, places


def _draw_classes(
    axes: Axes, axis: ClassAxis, values: list[npt.NDArray[np.float64]], *, length: float
) -> None:
    """Each series (K,) in per cent from head to tail over the classes."""
    axes.set_xlim(-0.5, axis.num_classes - 0.5)
    axes.set_ylim(*LIMITS)
    axes.grid(axis="y", color=PALE, linewidth=0.3)
    ranks = np.arange(axis.num_classes)
    num_series = len(values)
    if axis.is_smoothed:
        step = max(1, axis.num_classes // 7)
        for i, series in enumerate(values):
            color = SERIES_COLORS[i]
            if axis.is_banded:
                band = running_quartiles(series)
                axes.fill_between(ranks, *band, color=color, alpha=0.18, linewidth=0)
            else:
                axes.scatter(ranks, series, s=4.0, color=color, alpha=0.35, linewidths=0)
            axes.plot(
                ranks,
                running_mean(series),
                markevery=(i * step // num_series, step),
                **series_mark(i, is_line=True),
            )
        return
    offsets = SPREAD * ((np.arange(num_series) + 0.5) / num_series - 0.5)
    axes.plot(ranks + offsets[:, None], np.stack(values), color=SPINE, linewidth=0.6)
    size = min(3.8, max(2.0, SPREAD * length / axis.num_classes / num_series))
    for i, series in enumerate(values):
        axes.plot(ranks + offsets[i], series, markersize=size, **series_mark(i))


def _draw_means(strip: Axes, means: list[float], *, label: str) -> None:
    """The mean of each series in per cent: at its height a dash, beside it its mark and number."""
    strip.set_xlim(0.0, 1.0)
    strip.set_ylim(*LIMITS)
    strip.set_axis_off()
    write_above(strip, 0.45, label)
    scale = PANEL * POINTS_PER_INCH / (LIMITS[1] - LIMITS[0])
    known = sorted((mean, i) for i, mean in enumerate(means) if not np.isnan(mean))
    heights = spread_labels(
        [scale * (mean - LIMITS[0]) for mean, _ in known],
        [NUMBER_HEIGHT - LABEL_GAP] * len(known),
        length=PANEL * POINTS_PER_INCH - NUMBER_HEIGHT / 2,
    )
    for (mean, i), height in zip(known, heights, strict=True):
        level = height / scale + LIMITS[0]
        strip.plot([0.0, 0.12, 0.24], [mean, mean, level], color=SERIES_COLORS[i], linewidth=0.8)
        strip.plot([0.34], [level], **series_mark(i))
        strip.text(0.47, level, percent(mean / 100), ha="left", va="center", fontsize=SMALL)
