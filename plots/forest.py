"""How much better methods are than the baselines, with intervals: a forest plot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.save import Drawing, Table
from marr_pipeline.plots.style import (
    BAND,
    PALE,
    PAPER_WIDTH,
    POINTS_PER_INCH,
    SERIES_COLORS,
    SERIES_MARKERS,
    SMALL,
    SPINE,
    Width,
    legend_figure,
    look,
    shorten,
)

NAME_LENGTH = {"page": 30, "column": 24}  # characters of a method's name
MAX_METHODS = 24
LINE = 9.5  # points from one interval to the next
GAP = 5.0  # points more between two methods
FRAME = 0.52  # inches of a panel's title and axis


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A metric of a method less that of a reference; fractions.

    Attributes:
        value: the difference.
        low: end of its interval.
        high: the other end.
        p: of its being 0, corrected for the number of tests.
        is_marked: whether it counts as more than chance.
    """

    value: float
    low: float
    high: float
    p: float
    is_marked: bool


Panel = Mapping[str, Mapping[str, Difference]]


def draw_forest(
    panels: Mapping[str, Panel], *, marked: str, interval: str, width: Width = "page"
) -> Drawing:
    """One panel a metric, one row a method, one interval a reference.

    A difference that counts as more than chance has a filled mark and a star at its number.

    Args:
        panels: what a metric is called to the differences in it, by method and reference; 1 to 4
            metrics of the same 1 to 24 methods.
        marked: what a filled mark means, for the legend.
        interval: what the lines are.
        width: of both columns of a paper with the panels side by side, or of one.

    Returns:
        The figure. Its table has one row per metric, method and reference: metric, method,
        reference, difference, low, high, p and marked (1 or 0).

    Raises:
        PlotError: no method or too many, or other ones in another panel.
    """
    methods = list(next(iter(panels.values()), {}))
    if not 1 <= len(methods) <= MAX_METHODS or any(list(one) != methods for one in panels.values()):
        raise PlotError(
            f"panels: the same 1 to {MAX_METHODS} methods in each expected, got "
            f"{[len(one) for one in panels.values()]}; draw several figures instead"
        )
    references = list(dict.fromkeys(r for one in next(iter(panels.values())).values() for r in one))
    with look():
        marks = [(f"against {name}", _mark(i)) for i, name in enumerate(references)]
        marks += [
            (f"* {marked}", {"color": SPINE, "marker": "o", "linestyle": "none"}),
            (interval, {"color": SPINE}),
        ]
        line = len(references) * LINE + GAP
        down, across = (len(panels), 1) if width == "column" else (1, len(panels))
        height = down * (FRAME + len(methods) * line / POINTS_PER_INCH)
        figure = legend_figure(PAPER_WIDTH[width], height, marks, handle=1.6)
        grid = figure.subplots(down, across, squeeze=False).flat
        for i, (axes, (title, panel)) in enumerate(zip(grid, panels.items(), strict=True)):
            _draw_panel(axes, panel, references, step=LINE / line)
            axes.set_title(title, loc="left", fontsize=SMALL + 0.5, pad=4)
            axes.set_yticks(
                range(len(methods)), [shorten(name, length=NAME_LENGTH[width]) for name in methods]
            )
            axes.tick_params(axis="y", length=0, labelleft=i == 0 or width == "column")
            if i == len(panels) - 1 or width == "page":
                axes.set_xlabel("difference (points)")
    return Drawing(figure, _table(panels))


def _table(panels: Mapping[str, Panel]) -> Table:
    rows = [
        (metric, method, reference, one.value, one.low, one.high, one.p, int(one.is_marked))
        for metric, panel in panels.items()
        for method, differences in panel.items()
        for reference, one in differences.items()
    ]
    names = ("metric", "method", "reference", "difference", "low", "high", "p", "marked")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _draw_panel(axes: Axes, panel: Panel, references: list[str], *, step: float) -> None:
    """One metric: the first method on top, its intervals `step` of a row one below the other."""
    axes.set_ylim(len(panel) - 0.5, -0.5)
    axes.axvline(0.0, color=SPINE, linewidth=0.8, zorder=1)
    axes.grid(axis="x", color=PALE, linewidth=0.3)
    for row, differences in enumerate(panel.values()):
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color=BAND, linewidth=0, zorder=0)
        for i, (reference, found) in enumerate(differences.items()):
            y = row + step * (i - (len(differences) - 1) / 2)
            mark = _mark(references.index(reference))
            axes.plot([100 * found.low, 100 * found.high], [y, y], **mark | {"marker": ""})
            if found.is_marked:
                mark["markerfacecolor"] = mark["color"]
            axes.plot([100 * found.value], [y], **mark)
            axes.annotate(
                _points(found),
                (1.0, y),
                xycoords=axes.get_yaxis_transform(),
                xytext=(3.0, 0.0),
                textcoords="offset points",
                va="center_baseline",
                fontsize=SMALL,
            )


def _points(difference: Difference) -> str:
    """`+1.2*`; nothing has no sign."""
    text = f"{100 * difference.value:+.1f}".replace("-", "−")
    return f"{'0.0' if text[1:] == '0.0' else text}{'*' if difference.is_marked else ''}"


def _mark(reference: int) -> dict[str, Any]:
    return {
        "color": SERIES_COLORS[reference],
        "marker": SERIES_MARKERS[reference],
        "markersize": 3.6,
        "markeredgewidth": 0.9,
        "markerfacecolor": "white",
        "linewidth": 1.1,
    }
