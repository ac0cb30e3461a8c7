"""Average logit, average margin and accuracy of each class, from head to tail (Figures 1 and 5).

K classes; the average logit of class j is the mean over the images of class j of their own logit,
its average margin that mean divided by ||W_j|| (eq. 7).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.class_axis import (
    MAX_SINGLE_CLASSES,
    ClassAxis,
    running_mean,
    smoothing_window,
)
from marr_pipeline.plots.class_marks import (
    draw_training_counts,
    label_groups,
    mark_ranks,
    shade_groups,
)
from marr_pipeline.plots.save import Drawing, Table
from marr_pipeline.plots.style import (
    MAX_SERIES,
    POINTS_PER_INCH,
    SERIES_COLORS,
    SERIES_DASHES,
    SERIES_MARKERS,
    TEXT_WIDTH,
    look,
    new_figure,
    shorten,
)

PANEL_LENGTH = 0.26 * TEXT_WIDTH * POINTS_PER_INCH  # of one panel's class axis, nearly
ROUNDING = 1e-9  # a perfect correlation may be computed as 1 + 2e-16
LEGEND_LINE = 10.5  # points
LEGEND_FOOT = 11.0  # points above the panel, over the names of the groups
NAME_LENGTH = 18  # characters of a series name that a legend has room for


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCurves:
    """What one method does to each class; the index is the class id.

    Attributes:
        mean_logit: (K,) mean own logit over the images of each class; NaN where there are none.
        mean_margin: (K,) the same of the margins.
        accuracy: (K,) fraction of each class's images that are right; NaN where there are none.
        logit_correlation: Spearman's rank correlation of `mean_logit` with the class count, or NaN.
        margin_correlation: the same of `mean_margin`.

    Raises:
        PlotError: shapes differ, or a value is infinite or out of its range.
    """

    mean_logit: npt.NDArray[np.floating]
    mean_margin: npt.NDArray[np.floating]
    accuracy: npt.NDArray[np.floating]
    logit_correlation: float
    margin_correlation: float

    def __post_init__(self) -> None:
        shapes = {v.shape for v in (self.mean_logit, self.mean_margin, self.accuracy)}
        if len(shapes) != 1 or self.mean_logit.ndim != 1:
            raise PlotError(
                "ClassCurves: mean_logit, mean_margin and accuracy of one shape (K,) expected, "
                f"got {self.mean_logit.shape}, {self.mean_margin.shape} and {self.accuracy.shape}; "
                "pass one value per class"
            )
        limits = {
            "accuracy": (0.0, 1.0),
            "logit_correlation": (-1.0 - ROUNDING, 1.0 + ROUNDING),
            "margin_correlation": (-1.0 - ROUNDING, 1.0 + ROUNDING),
        }
        for field in fields(self):
            low, high = limits.get(field.name, (-np.finfo(float).max, np.finfo(float).max))
            values = np.atleast_1d(np.asarray(getattr(self, field.name), dtype=np.float64))
            wrong = values[(values < low) | (values > high)]
            if len(wrong):
                raise PlotError(
                    f"ClassCurves.{field.name}: values in {low:g}..{high:g} or NaN expected, "
                    f"got {wrong[0]:g}; check where it was computed"
                )


class _Panel(NamedTuple):
    """One quantity: what its axis says, and for each series its values and its legend's summary."""

    label: str
    values: dict[str, npt.NDArray[np.float64]]
    summaries: dict[str, tuple[str, str]]


def draw_curves(axis: ClassAxis, curves: Mapping[str, ClassCurves]) -> Drawing:
    """Three panels over the classes from head to tail: average logit, average margin, accuracy.

    A strip below each panel shows the training images per class. Beyond 50 classes each line is a
    running mean (`running_mean`) over the faint line of the single classes.

    Args:
        axis: the K classes; their names are shown where they fit (up to 16 classes).
        curves: name of a method to its curves, 1 to 7 of them.

    Returns:
        A figure of both columns' width. Its table has one row per class from head to tail:
        `ClassAxis.columns`; then for each series S the columns S.mean_logit, S.mean_margin,
        S.accuracy, beyond 50 classes their running means S.smooth_mean_logit and so on, and
        S.logit_correlation and S.margin_correlation, the same in every row.

    Raises:
        PlotError: shapes differ, or there is no series or too many to tell apart.
    """
    lengths = {name: len(series.mean_logit) for name, series in curves.items()}
    axis.check_series("curves", lengths, most=MAX_SERIES)
    note = f"bold: mean of {smoothing_window(axis.num_classes)} ranks" if axis.is_smoothed else ""
    with look():
        height = 2.35 + len(curves) * LEGEND_LINE / POINTS_PER_INCH
        figure = new_figure(TEXT_WIDTH, height, layout="constrained")
        grid = figure.subplots(
            2, 3, sharex="col", squeeze=False, gridspec_kw={"height_ratios": (6.0, 1.0)}
        )
        for column, panel in enumerate(_panels(curves, axis)):
            _draw_panel(figure, grid[0, column], panel, axis)
            draw_training_counts(grid[1, column], axis, is_labelled=column == 0)
            mark_ranks(grid[1, column], axis, length=PANEL_LENGTH, note=note)
        grid[0, 2].set_ylim(-3.0, 103.0)
        figure.align_ylabels(grid[:, 0])
    return Drawing(figure, _table(axis, curves))


def _table(axis: ClassAxis, curves: Mapping[str, ClassCurves]) -> Table:
    table = axis.columns()
    for name, series in curves.items():
        for quantity, values in _by_rank(series, axis).items():
            table[f"{name}.{quantity}"] = values
            if axis.is_smoothed:
                table[f"{name}.smooth_{quantity}"] = running_mean(values)
        for field in ("logit_correlation", "margin_correlation"):
            table[f"{name}.{field}"] = np.full(axis.num_classes, getattr(series, field))
    return table


def _by_rank(series: ClassCurves, axis: ClassAxis) -> dict[str, npt.NDArray[np.float64]]:
    """The three curves (K,) from head to tail."""
    return {
        quantity: np.asarray(getattr(series, quantity), dtype=np.float64)[axis.order]
        for quantity in ("mean_logit", "mean_margin", "accuracy")
    }


def _panels(curves: Mapping[str, ClassCurves], axis: ClassAxis) -> list[_Panel]:
    ranked = {name: _by_rank(series, axis) for name, series in curves.items()}
    logits = {name: by_rank["mean_logit"] for name, by_rank in ranked.items()}
    margins = {name: by_rank["mean_margin"] for name, by_rank in ranked.items()}
    percents = {name: 100 * by_rank["accuracy"] for name, by_rank in ranked.items()}
    return [
        _Panel(
            "average logit",
            logits,
            {n: (_rho(curves[n].logit_correlation), _spread(v)) for n, v in logits.items()},
        ),
        _Panel(
            "average margin",
            margins,
            {n: (_rho(curves[n].margin_correlation), _spread(v)) for n, v in margins.items()},
        ),
        _Panel(
            "accuracy (%)",
            percents,
            {n: (_mean(v), _spread(v)) for n, v in percents.items()},
        ),
    ]


def _draw_panel(figure: Figure, axes: Axes, panel: _Panel, axis: ClassAxis) -> None:
    shade_groups(axes, axis)
    label_groups(axes, axis, side="top", length=PANEL_LENGTH)
    ranks = np.arange(axis.num_classes)
    is_marked = not axis.is_smoothed
    has_spread = max(len(name) for name in panel.values) <= NAME_LENGTH // 2
    handles: list[Line2D] = []
    for i, (name, values) in enumerate(panel.values.items()):
        color, summary = SERIES_COLORS[i], panel.summaries[name]
        if not is_marked:
            # More classes in the same width: each must be fainter for the means to stand out.
            alpha = 0.3 * (MAX_SINGLE_CLASSES / axis.num_classes) ** 0.3
            axes.plot(ranks, values, color=color, linewidth=0.5, alpha=alpha, zorder=1.5)
        (line,) = axes.plot(
            ranks,
            values if is_marked else running_mean(values),
            color=color,
            linestyle=SERIES_DASHES[i],
            marker=SERIES_MARKERS[i] if is_marked else "",
            # A leading blank keeps a name that begins with an underscore in the legend.
            label=f" {shorten(name, length=NAME_LENGTH)}   {'   '.join(summary[: 1 + has_spread])}",
        )
        handles.append(line)
    axes.set_ylabel(panel.label)
    lift = ScaledTranslation(0.0, LEGEND_FOOT / POINTS_PER_INCH, figure.dpi_scale_trans)
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        bbox_transform=axes.transAxes + lift,
        borderaxespad=0.0,
        borderpad=0.0,
        handletextpad=0.3,
    )


def _rho(correlation: float) -> str:
    return "ρ –" if np.isnan(correlation) else f"ρ {correlation:.2f}".replace("-", "−")


def _mean(values: npt.NDArray[np.float64]) -> str:
    """Mean over the classes that have a value."""
    known = values[~np.isnan(values)]
    return f"mean {known.mean():.1f}" if len(known) else "mean –"


def _spread(values: npt.NDArray[np.float64]) -> str:
    """Standard deviation across the classes that have a value, three digits."""
    known = values[~np.isnan(values)]
    return f"sd {known.std():#.3g}" if len(known) else "sd –"
