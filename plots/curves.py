"""Average logit, average margin and accuracy of each class, from head to tail (Figures 1 and 5).

K classes; the average logit of class j is the mean over the images of class j of their own logit,
its average margin that mean divided by ||W_j|| (eq. 7).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from marr_pipeline.plots.class_axis import (
    MAX_SINGLE_CLASSES,
    ClassAxis,
    draw_foot,
    draw_groups,
    names_width,
)
from marr_pipeline.plots.class_values import (
    FRACTION,
    ClassValues,
    Values,
    check_series,
    class_table,
)
from marr_pipeline.plots.save import Drawing
from marr_pipeline.plots.smoothing import known_mean, running_mean, running_quartiles
from marr_pipeline.plots.style import (
    POINTS_PER_INCH,
    SERIES_COLORS,
    SERIES_DASHES,
    SERIES_MARKERS,
    TEXT_WIDTH,
    legend_columns,
    look,
    new_figure,
    percent,
    shorten,
)

PAGE = TEXT_WIDTH * POINTS_PER_INCH
PANEL_LENGTH, STACKED_LENGTH = 0.26 * PAGE, 0.9 * PAGE  # of one panel's class axis, nearly
PANEL, FOOT = 1.15, 0.25  # inches: height of a stacked panel, and of its foot with its label
CORRELATION = (-1.0 - 1e-9, 1.0 + 1e-9)  # a perfect one may be computed as 1 + 2e-16
LEGEND_LINE = 10.5  # points
LEGEND_FOOT = 11.0  # points above the panel, over the names of the groups
NAME_LENGTH = 18  # characters of a series name that a legend has room for


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCurves(ClassValues):
    """What one method does to each class.

    Attributes:
        mean_logit: (K,) mean own logit over the images of each class.
        mean_margin: (K,) the same of the margins.
        accuracy: (K,) fraction of each class's images that are right.
        logit_correlation: Spearman's rank correlation of `mean_logit` with the class count.
        margin_correlation: the same of `mean_margin`.
    """

    LIMITS: ClassVar = {
        "accuracy": FRACTION,
        "logit_correlation": CORRELATION,
        "margin_correlation": CORRELATION,
    }

    mean_logit: Values
    mean_margin: Values
    accuracy: Values
    logit_correlation: float
    margin_correlation: float


PANELS = (
    ("mean_logit", "average logit", "logit_correlation"),
    ("mean_margin", "average margin", "margin_correlation"),
    ("accuracy", "accuracy (%)", ""),
)
"""A quantity, what its axis says, and the field of its correlation with the class count."""


def draw_curves(axis: ClassAxis, curves: Mapping[str, ClassCurves]) -> Drawing:
    """Three panels over the classes from head to tail: average logit, average margin, accuracy.

    A strip below them shows the training images per class. Beyond 50 classes each line is a running
    mean (`running_mean`) over the faint line of the single classes, beyond 200 over the band
    between their running quartiles. Panels side by side stand one below the other where the names
    of the classes need the length.

    Args:
        axis: the K classes.
        curves: name of a method to its curves, 1 to 8 of them.

    Returns:
        A figure of both columns' width, and the `class_table` of the curves.

    Raises:
        PlotError: shapes differ, or there is no series or too many to tell apart.
    """
    check_series("curves", curves, axis)
    with look():
        is_stacked = axis.is_crowded(PANEL_LENGTH)
        length = STACKED_LENGTH if is_stacked else PANEL_LENGTH
        legend = (LEGEND_FOOT + len(curves) * LEGEND_LINE) / POINTS_PER_INCH
        height = 2.35 - LEGEND_FOOT / POINTS_PER_INCH + legend
        if is_stacked:
            height = 3 * (PANEL + legend) + 2 * FOOT + names_width(axis) / POINTS_PER_INCH
        figure = new_figure(TEXT_WIDTH, height, layout="constrained")
        if is_stacked:
            column = figure.subplots(4, 1, sharex=True, height_ratios=(PANEL, PANEL, PANEL, FOOT))
            mains, feet = column[:3], column[3:]
        else:
            mains, feet = figure.subplots(2, 3, sharex="col", height_ratios=(6.0, 1.0))
        for (quantity, label, correlation), axes in zip(PANELS, mains, strict=True):
            draw_groups(axes, axis, length=length)
            _draw_lines(axes, axis, curves, quantity, correlation)
            axes.set_ylabel(label)
            _add_legend(figure, axes, length=length)
            axes.tick_params(axis="x", bottom=False)
        for foot in feet:
            draw_foot(foot, axis, length=length, means_are="bold", is_labelled=foot is feet[0])
        mains[2].set_ylim(-3.0, 103.0)
        figure.align_ylabels([*mains, feet[0]] if is_stacked else [mains[0], feet[0]])
    return Drawing(figure, class_table(axis, curves))


def _draw_lines(
    axes: Axes,
    axis: ClassAxis,
    curves: Mapping[str, ClassCurves],
    quantity: str,
    correlation: str,
) -> None:
    """Each series over the classes; what the legend says of it is the label of its line."""
    ranks = np.arange(axis.num_classes)
    has_spread = max(len(name) for name in curves) <= NAME_LENGTH // 2
    for i, (name, series) in enumerate(curves.items()):
        values = series.by_rank(quantity, axis)
        if correlation:
            summary = _rho(getattr(series, correlation))
        else:
            summary = f"mean {percent(known_mean(values))}"
            values = 100 * values
        if axis.is_banded:
            band = running_quartiles(values)
            axes.fill_between(ranks, *band, color=SERIES_COLORS[i], alpha=0.18, linewidth=0)
        elif axis.is_smoothed:
            # More classes in the same width: each must be fainter for the means to stand out.
            alpha = 0.3 * (MAX_SINGLE_CLASSES / axis.num_classes) ** 0.3
            axes.plot(ranks, values, color=SERIES_COLORS[i], linewidth=0.5, alpha=alpha, zorder=1.5)
        words = [shorten(name, length=NAME_LENGTH), summary]
        if has_spread:
            words.append(_spread(values))
        axes.plot(
            ranks,
            running_mean(values) if axis.is_smoothed else values,
            color=SERIES_COLORS[i],
            linestyle=SERIES_DASHES[i],
            marker="" if axis.is_smoothed else SERIES_MARKERS[i],
            # A leading blank keeps a name that begins with an underscore in the legend.
            label=" " + "   ".join(words),
        )


def _add_legend(figure: Figure, axes: Axes, *, length: float) -> None:
    """The labelled lines, over the names of the groups of a panel of `length` points."""
    labels = [str(label) for label in axes.get_legend_handles_labels()[1]]
    lift = ScaledTranslation(0.0, LEGEND_FOOT / POINTS_PER_INCH, figure.dpi_scale_trans)
    axes.legend(
        loc="lower left",
        ncols=legend_columns(labels, handle=2.4, length=length),
        bbox_to_anchor=(0.0, 1.0),
        bbox_transform=axes.transAxes + lift,
        borderaxespad=0.0,
        borderpad=0.0,
        handletextpad=0.3,
    )


def _rho(correlation: float) -> str:
    return "ρ –" if np.isnan(correlation) else f"ρ {correlation:.2f}".replace("-", "−")


def _spread(values: npt.NDArray[np.float64]) -> str:
    """Standard deviation across the classes that have a value, three digits."""
    known = values[~np.isnan(values)]
    return f"sd {known.std():#.3g}" if len(known) else "sd –"
