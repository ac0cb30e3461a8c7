"""Reliability diagram: how often predictions are right against how sure they were.

B equal-width bins of the confidence, the probability of the predicted class. The gap of a bin is
its accuracy less its mean confidence: below zero a method is too sure of itself. The expected
calibration error is the mean absolute gap, bins counted by their share of the samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from marr_pipeline.plots import PlotError, check_number
from marr_pipeline.plots.save import Drawing, Table
from marr_pipeline.plots.style import (
    MAX_SERIES,
    NORMAL,
    PALE,
    PAPER_WIDTH,
    POINTS_PER_INCH,
    SERIES_COLORS,
    SERIES_DASHES,
    SPINE,
    Width,
    legend_figure,
    look,
    percent,
    series_mark,
)

FEW_SAMPLES = 10  # fewer in a bin say little: a faint dot, and no line leads through it
PANELS_ACROSS = {"page": 4, "column": 2}
SQUARE, STRIP = 1.3, 0.46  # inches: height of the diagram, and of gap and share under it
ROW = SQUARE + 2 * STRIP + 0.75  # with the names of axes and panel
ERROR_LINE, ERROR_WIDTH = 10.0, 30.0  # points that a calibration error takes over its panel
LABELS = 28.0  # points of what stands between two panels
SPARSE = f"fewer than {FEW_SAMPLES} samples"
SPARSE_DOT: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "alpha": 0.5,
    "markeredgewidth": 0,
    "markersize": 1.7,
}
FULL_LIMITS = (-4.0, 104.0)  # per cent; marks at 0 and 100 stay whole

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReliabilityBins:
    """The samples of a method by its confidence in them.

    Attributes:
        samples: (B,) int64 in each bin, from confidence 0 to 1.
        confidence: (B,) their mean confidence; NaN in an empty bin.
        accuracy: (B,) share of them that are right; NaN in an empty bin.

    Raises:
        PlotError: shapes differ, or a value is out of its range.
    """

    samples: npt.NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    def __post_init__(self) -> None:
        shapes = [self.samples.shape, self.confidence.shape, self.accuracy.shape]
        if len(set(shapes)) != 1 or self.samples.ndim != 1 or not self.samples.sum() > 0:
            raise PlotError(
                f"ReliabilityBins: (B,) numbers of samples, confidences and accuracies expected, "
                f"got {shapes} of {self.samples.sum()} samples; give one value a bin"
            )
        is_filled = self.samples > 0
        for name in ("confidence", "accuracy"):
            values = getattr(self, name)[is_filled]
            if not ((values >= 0) & (values <= 1)).all():
                raise PlotError(
                    f"ReliabilityBins.{name}: fractions in 0..1 expected where there are samples, "
                    f"got {values.min():g} to {values.max():g}"
                )

    @property
    def share(self) -> Floats:
        """(B,) of the samples."""
        return np.asarray(self.samples / self.samples.sum())

    @property
    def gap(self) -> Floats:
        """(B,) accuracy less confidence."""
        return self.accuracy - self.confidence

    @property
    def error(self) -> float:
        """Expected calibration error."""
        return float(np.nansum(self.share * np.abs(self.gap)))


Parts = Mapping[str, ReliabilityBins]


class _Places(NamedTuple):
    """Axes of one part of the samples: the diagram, the gap and the share of samples."""

    diagram: Axes
    gap: Axes
    share: Axes


def draw_reliability(bins: Mapping[str, Parts], *, width: Width = "page") -> Drawing:
    """One panel a part of the samples: accuracy against confidence, and under it gap and share.

    Each mark stands at the mean confidence of its bin. Over a panel stand the calibration errors.

    Args:
        bins: name of a method to its bins in each part, such as `overall` and `few`; 1 to 8
            methods, the one before first, of 1 to 4 parts, the same for all.
        width: of both columns of a paper, or of one with two panels in a row.

    Returns:
        The figure, narrower for a single part. Its table has one row per method, part and bin:
        series, part, bin (from 1), low and high (its ends), samples, share, confidence, accuracy,
        gap (NaN in an empty bin), and ece of the part.

    Raises:
        PlotError: no method or too many to tell apart, or their parts or bins differ.
    """
    _check(bins)
    parts = list(next(iter(bins.values())))
    with look():
        paper = PAPER_WIDTH["column" if len(parts) == 1 else width]
        across = min(len(parts), PANELS_ACROSS[width])
        errors_across = int((paper / across * POINTS_PER_INCH - LABELS) / ERROR_WIDTH)
        error_lines = -(-len(bins) // errors_across)
        found = [one for of_parts in bins.values() for one in of_parts.values()]
        is_sparse = any(((one.samples > 0) & (one.samples < FEW_SAMPLES)).any() for one in found)
        marks = [(name, series_mark(i, is_line=True)) for i, name in enumerate(bins)]
        if is_sparse:
            marks.append((SPARSE, {"color": SPINE, **SPARSE_DOT}))
        row = ROW + error_lines * ERROR_LINE / POINTS_PER_INCH
        down = -(-len(parts) // across)
        figure = legend_figure(paper, down * row, marks, gap=0.02)
        places = _lay_out(figure, down, across, num_parts=len(parts))
        for part, axes in zip(parts, places, strict=True):
            series = [of_parts[part] for of_parts in bins.values()]
            _draw_part(axes, part, series, num_columns=errors_across)
        _align(places)
    return Drawing(figure, _table(bins))


def _table(bins: Mapping[str, Parts]) -> Table:
    columns: dict[str, list[npt.NDArray[np.generic]]] = {}
    for name, parts in bins.items():
        for part, found in parts.items():
            num_bins = len(found.samples)
            ends = np.arange(num_bins + 1) / num_bins
            for column, values in {
                "series": np.full(num_bins, name),
                "part": np.full(num_bins, part),
                "bin": np.arange(1, num_bins + 1),
                "low": ends[:-1],
                "high": ends[1:],
                "samples": found.samples,
                "share": found.share,
                "confidence": found.confidence,
                "accuracy": found.accuracy,
                "gap": found.gap,
                "ece": np.full(num_bins, found.error),
            }.items():
                columns.setdefault(column, []).append(values)
    return {name: np.concatenate(values) for name, values in columns.items()}


def _check(bins: Mapping[str, Parts]) -> None:
    check_number("bins", bins, MAX_SERIES)
    kinds = {tuple((part, len(one.samples)) for part, one in of.items()) for of in bins.values()}
    if len(kinds) != 1 or not next(iter(kinds)):
        raise PlotError(
            f"bins: the same parts and numbers of bins of every series expected, got {kinds}"
        )


def _lay_out(figure: Figure, down: int, across: int, *, num_parts: int) -> list[_Places]:
    """The axes of each part, row by row."""
    heights = [SQUARE, STRIP, STRIP] * down
    grid = figure.subplots(3 * down, across, squeeze=False, height_ratios=heights)
    places = []
    for i in range(down * across):
        row_of_part, column = divmod(i, across)
        axes = _Places(*grid[3 * row_of_part : 3 * row_of_part + 3, column])
        if i >= num_parts:
            for one in axes:
                one.set_axis_off()
            continue
        for one, label in zip(axes, ("accuracy (%)", "gap", "share (%)"), strict=True):
            one.set_xlim(*FULL_LIMITS)
            one.set_xticks(range(0, 101, 25))
            one.tick_params(axis="x", labelbottom=one is axes.share)
            one.tick_params(axis="y", labelleft=column == 0)
            one.margins(y=0.15)
            one.set_ylabel(label if column == 0 else "")
        axes.share.set_xlabel("confidence (%)")
        places.append(axes)
    for first in grid[:, 0].reshape(down, 3):
        figure.align_ylabels(first)
    return places


def _align(places: list[_Places]) -> None:
    """One scale for all gaps and one for all shares, so that parts compare."""
    for name in ("gap", "share"):
        strips = [getattr(axes, name) for axes in places]
        low, high = zip(*(strip.get_ylim() for strip in strips), strict=True)
        for strip in strips:
            strip.set_ylim(0.0 if name == "share" else min(low), max(high))
            strip.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def _draw_part(
    axes: _Places, part: str, series: list[ReliabilityBins], *, num_columns: int
) -> None:
    """The series of one part; their calibration errors stand over it in so many columns."""
    axes.diagram.plot([0, 100], [0, 100], color=SPINE, linewidth=0.8, zorder=1)
    axes.gap.axhline(0.0, color=SPINE, linewidth=0.8, zorder=1)
    for place in axes:
        place.grid(color=PALE, linewidth=0.3)
    for i, bins in enumerate(series):
        x = 100 * bins.confidence
        is_sure = bins.samples >= FEW_SAMPLES
        for place, y in ((axes.diagram, 100 * bins.accuracy), (axes.gap, 100 * bins.gap)):
            place.plot(
                x[is_sure],
                y[is_sure],
                markersize=2.6,
                linewidth=0.9,
                **series_mark(i, is_line=True),
            )
        sparse = 100 * np.where(is_sure, np.nan, bins.accuracy)
        axes.diagram.plot(x, sparse, color=SERIES_COLORS[i], **SPARSE_DOT)
        axes.share.stairs(
            100 * bins.share,
            np.linspace(0.0, 100.0, len(bins.samples) + 1),
            color=SERIES_COLORS[i],
            linestyle=SERIES_DASHES[i],
            linewidth=0.9,
        )
    axes.diagram.set_ylim(*FULL_LIMITS)
    axes.diagram.legend(
        handles=[
            Line2D([], [], label=percent(bins.error), **series_mark(i))
            for i, bins in enumerate(series)
        ],
        title=f"{part}: ECE (%)",
        title_fontsize=NORMAL,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=num_columns,
        alignment="left",
        borderaxespad=0.2,
        borderpad=0.0,
        handlelength=0.8,
        handletextpad=0.1,
        columnspacing=0.6,
    )
