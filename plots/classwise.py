"""Accuracy and F1 of each class before and after, from head to tail, beside the mean (Figure 6).

K classes. The accuracy of a class is the share of its images that are right, its recall; its F1 is
the harmonic mean of that and of the share of its predictions that are right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.class_axis import ClassAxis, running_mean, smoothing_window
from marr_pipeline.plots.class_marks import (
    LABEL_GAP,
    draw_training_counts,
    label_groups,
    mark_ranks,
    shade_groups,
    spread_labels,
    write_above,
)
from marr_pipeline.plots.save import Drawing, Table
from marr_pipeline.plots.style import (
    COLUMN_WIDTH,
    MAX_SERIES,
    PALE,
    POINTS_PER_INCH,
    SERIES_COLORS,
    SERIES_DASHES,
    SERIES_MARKERS,
    SMALL,
    SPINE,
    TEXT_WIDTH,
    look,
    new_figure,
    percent,
    shorten,
    text_width,
)

Width = Literal["page", "column"]
Floats = npt.NDArray[np.floating]

LENGTH = {"page": 0.355 * TEXT_WIDTH, "column": 0.70 * COLUMN_WIDTH}  # inches of a panel, nearly
PANEL, FOOT, STRIP = 1.6, 0.24, 0.5  # inches: height of a panel, of the counts; width of the means
NAME_LENGTH = 28  # characters of a method's name that the legend has room for
HANDLE = 34.0  # points of the legend's mark and of the gap after a name
LEGEND_LINE = 10.5  # points
SPREAD = 0.62  # of a class's width, over which its marks stand side by side
NUMBER_HEIGHT = 8.0  # points from one mean to the next
LIMITS = (-4.0, 104.0)  # per cent; marks at 0 and 100 stay whole


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassScores:
    """What one method is worth on each class; the index is the class id. All are fractions.

    Attributes:
        accuracy: (K,) of each class's images; NaN where there are none.
        f1: (K,) of each class; NaN where there are no images.
        overall: accuracy of all images.
        macro_f1: mean of `f1` over the classes that have images.

    Raises:
        PlotError: shapes differ, or a value is out of its range.
    """

    accuracy: Floats
    f1: Floats
    overall: float
    macro_f1: float

    def __post_init__(self) -> None:
        if self.accuracy.ndim != 1 or self.accuracy.shape != self.f1.shape:
            raise PlotError(
                "ClassScores: accuracy and f1 of one shape (K,) expected, got "
                f"{self.accuracy.shape} and {self.f1.shape}; pass one value per class"
            )
        for name, values in vars(self).items():
            wrong = [value for value in np.atleast_1d(values) if value < 0 or value > 1]
            if wrong:
                raise PlotError(
                    f"ClassScores.{name}: values in 0..1 or NaN expected, got {wrong[0]:g}; "
                    "pass fractions, not per cent"
                )


class _Panel(NamedTuple):
    """One quantity: what its axis says and what stands over its means."""

    quantity: Literal["accuracy", "f1"]
    label: str
    mean: Literal["overall", "macro_f1"]
    mean_label: str


PANELS = (
    _Panel("accuracy", "class accuracy (%)", "overall", "overall"),
    _Panel("f1", "class F1 (%)", "macro_f1", "macro-F1"),
)


def draw_classwise(
    axis: ClassAxis, scores: Mapping[str, ClassScores], *, width: Width = "page"
) -> Drawing:
    """Accuracy and F1 of each class from head to tail, and to the right of each its mean.

    Up to 50 classes the methods stand side by side over each class, joined by a line from one to
    the next; beyond, each is a running mean (`running_mean`) through the faint dots of the single
    classes. A strip at the foot shows the training images per class.

    Args:
        axis: the K classes; their names are shown where they fit (up to 16 classes).
        scores: name of a method to its scores, 1 to 7 of them, the one before first.
        width: of both columns of a paper with the panels side by side, or of one with F1 below.

    Returns:
        The figure. Its table has one row per class from head to tail: `ClassAxis.columns`; then for
        each series S the columns S.accuracy and S.f1, beyond 50 classes their running means
        S.smooth_accuracy and S.smooth_f1, and S.overall and S.macro_f1, the same in every row.

    Raises:
        PlotError: shapes differ, or there is no series or too many to tell apart.
    """
    lengths = {name: len(series.accuracy) for name, series in scores.items()}
    axis.check_series("scores", lengths, most=MAX_SERIES)
    note = f"lines: mean of {smoothing_window(axis.num_classes)} ranks" if axis.is_smoothed else ""
    with look():
        figure, panels, strips, feet = _lay_out(axis, list(scores), width)
        length = LENGTH[width] * POINTS_PER_INCH
        for panel, axes, strip in zip(PANELS, panels, strips, strict=True):
            values = {name: _percents(series, panel, axis) for name, series in scores.items()}
            _draw_classes(axes, axis, list(values.values()), length=length)
            label_groups(axes, axis, side="top", length=length)
            axes.set_ylabel(panel.label)
            means = [100 * getattr(series, panel.mean) for series in scores.values()]
            _draw_means(strip, means, label=panel.mean_label)
        for axes in feet:
            draw_training_counts(axes, axis, is_labelled=axes is feet[0])
            mark_ranks(axes, axis, length=length, note=note)
        figure.align_ylabels([*panels, *feet] if width == "column" else [panels[0], feet[0]])
    return Drawing(figure, _table(axis, scores))


def _table(axis: ClassAxis, scores: Mapping[str, ClassScores]) -> Table:
    table = axis.columns()
    for name, series in scores.items():
        for panel in PANELS:
            values = np.asarray(getattr(series, panel.quantity), dtype=np.float64)[axis.order]
            table[f"{name}.{panel.quantity}"] = values
            if axis.is_smoothed:
                table[f"{name}.smooth_{panel.quantity}"] = running_mean(values)
        for panel in PANELS:
            table[f"{name}.{panel.mean}"] = np.full(axis.num_classes, getattr(series, panel.mean))
    return table


def _percents(series: ClassScores, panel: _Panel, axis: ClassAxis) -> npt.NDArray[np.float64]:
    """(K,) from head to tail."""
    return 100 * np.asarray(getattr(series, panel.quantity), dtype=np.float64)[axis.order]


def _lay_out(
    axis: ClassAxis, names: list[str], width: Width
) -> tuple[Figure, list[Axes], list[Axes], list[Axes]]:
    """The paper with its legend, and its panels, the strips of their means, and their feet."""
    is_page = width == "page"
    paper = TEXT_WIDTH if is_page else COLUMN_WIDTH
    names = [shorten(name, length=NAME_LENGTH) for name in names]
    entry = max(text_width(name, size=SMALL) for name in names) + HANDLE
    num_columns = max(1, min(len(names), int(paper * POINTS_PER_INCH / entry)))
    legend = -(-len(names) // num_columns) * LEGEND_LINE / POINTS_PER_INCH
    height = legend + (2.45 if is_page else 4.1)
    figure = new_figure(paper, height, layout="constrained")
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    ratio = STRIP / LENGTH["page" if is_page else "column"]
    heights, widths = [PANEL] * (1 if is_page else 2) + [FOOT], [1.0, ratio] * (2 if is_page else 1)
    grid = figure.add_gridspec(
        len(heights), len(widths), height_ratios=heights, width_ratios=widths
    )
    places = [(0, 0), (0, 2)] if is_page else [(0, 0), (1, 0)]
    panels = [figure.add_subplot(grid[row, column]) for row, column in places]
    strips = [figure.add_subplot(grid[row, column + 1]) for row, column in places]
    feet = [figure.add_subplot(grid[-1, column]) for column in range(0, len(widths), 2)]
    for axes in panels:
        axes.tick_params(axis="x", bottom=False, labelbottom=False)
    handles = [
        # A leading blank keeps a name that begins with an underscore in the legend.
        Line2D([], [], label=f" {name}", **_mark(i, is_line=axis.is_smoothed))
        for i, name in enumerate(names)
    ]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=num_columns,
        borderaxespad=0.2,
        borderpad=0.0,
        handletextpad=0.2,
        handlelength=2.6 if axis.is_smoothed else 1.0,
        columnspacing=1.4,
    )
    return figure, panels, strips, feet


def _mark(series: int, *, is_line: bool = False) -> dict[str, Any]:
    """Colour and shape of a series; the one before is hollow, so that it differs in grey too."""
    color = SERIES_COLORS[series]
    return {
        "color": color,
        "linestyle": SERIES_DASHES[series] if is_line else "none",
        "marker": SERIES_MARKERS[series],
        "markerfacecolor": "white" if series == 0 else color,
        "markeredgewidth": 0.8,
    }


def _draw_classes(
    axes: Axes, axis: ClassAxis, values: list[npt.NDArray[np.float64]], *, length: float
) -> None:
    """Each series (K,) in per cent from head to tail over the classes."""
    shade_groups(axes, axis)
    axes.set_xlim(-0.5, axis.num_classes - 0.5)
    axes.set_ylim(*LIMITS)
    axes.grid(axis="y", color=PALE, linewidth=0.3)
    ranks = np.arange(axis.num_classes)
    num_series = len(values)
    if axis.is_smoothed:
        step = max(1, axis.num_classes // 7)
        for i, series in enumerate(values):
            axes.scatter(ranks, series, s=4.0, color=SERIES_COLORS[i], alpha=0.35, linewidths=0)
            axes.plot(
                ranks,
                running_mean(series),
                markevery=(i * step // num_series, step),
                **_mark(i, is_line=True),
            )
        return
    offsets = SPREAD * ((np.arange(num_series) + 0.5) / num_series - 0.5)
    axes.plot(ranks + offsets[:, None], np.stack(values), color=SPINE, linewidth=0.6)
    size = min(3.8, max(2.0, SPREAD * length / axis.num_classes / num_series))
    for i, series in enumerate(values):
        axes.plot(ranks + offsets[i], series, markersize=size, **_mark(i))


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
        strip.plot([0.34], [level], **_mark(i))
        strip.text(0.47, level, percent(mean / 100), ha="left", va="center", fontsize=SMALL)
