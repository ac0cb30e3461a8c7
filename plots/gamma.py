"""Accuracy against gamma, the exponent of the class weights, with intervals (Figure 4).

G values of gamma. Beside the accuracy stand what it is made of, the groups, for one curve, and the
negative log likelihood for several.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.class_values import ClassValues, Values
from marr_pipeline.plots.save import Column, Drawing
from marr_pipeline.plots.style import (
    COLUMN_WIDTH,
    FADED,
    INK,
    MAX_SERIES,
    PALE,
    SERIES_DASHES,
    SPINE,
    TEXT_WIDTH,
    Width,
    legend_figure,
    look,
    percent,
    series_mark,
)

PANEL = 1.75  # inches, height
GROUPS = ("many", "medium", "few")
GROUP_MARKS: dict[str, dict[str, Any]] = {
    group: series_mark(2 + i, is_line=True) for i, group in enumerate(GROUPS)
}
MAX_CURVES = MAX_SERIES - 1  # the first colour is that of the classifier before, a reference


@dataclass(frozen=True, kw_only=True, eq=False)
class GammaCurve(ClassValues):
    """What a method is worth at each gamma: arrays (G,), NaN where there is no number.

    Attributes:
        gamma: ascending.
        overall: accuracy, a fraction, as `many`, `medium` and `few` are of the groups.
        overall_low: lower end of its interval, as `overall_high` is the upper one.
        balanced: mean accuracy of the classes, for the table.
        nll: mean negative log likelihood, with `nll_low` and `nll_high`.
        is_solved: 1 where the fit reached its minimum, 0 where it did not.
        chosen: the gamma to be marked.
    """

    EACH: ClassVar = "gamma"
    LIMITS: ClassVar = dict.fromkeys(
        ("overall", "overall_low", "overall_high", "balanced", *GROUPS, "is_solved"), (-0.1, 1.1)
    )

    gamma: Values
    overall: Values
    overall_low: Values
    overall_high: Values
    balanced: Values
    many: Values
    medium: Values
    few: Values
    nll: Values
    nll_low: Values
    nll_high: Values
    is_solved: Values
    chosen: float


class _Line(NamedTuple):
    """One line of a panel: its field, its ends if it has an interval, and how it looks."""

    curve: GammaCurve
    field: str
    unit: float
    mark: dict[str, Any]


def draw_gamma(
    curves: Mapping[str, GammaCurve],
    references: Mapping[str, tuple[float, float, float]],
    *,
    width: Width = "page",
) -> Drawing:
    """Accuracy against gamma, and by its side that of the groups or, of several curves, the NLL.

    Bands are intervals. A ring and a thin line mark the chosen gamma; a hollow mark is a fit that
    did not reach its minimum. References, which have no gamma, are level lines.

    Args:
        curves: 1 to 7 of them by name.
        references: name to overall and balanced accuracy (fractions) and NLL, at most 2.
        width: of both columns of a paper, panels side by side, or of one, one below the other.

    Returns:
        The figure and a table of one row per curve and gamma: `series`, the fields of `GammaCurve`,
        `chosen` 1 or 0; then a row per reference, without a gamma.

    Raises:
        PlotError: no curve or too many to tell apart, or shapes differ.
    """
    if not 1 <= len(curves) <= MAX_CURVES:
        raise PlotError(
            f"gamma: 1 to {MAX_CURVES} curves expected, got {len(curves)}; sweep fewer settings"
        )
    marks = {
        name: series_mark(1 + i, is_line=True) | {"linestyle": SERIES_DASHES[i]}
        for i, name in enumerate(curves)
    }
    levels = {
        name: {"color": (FADED, INK)[i], "linestyle": ((0, (1, 1)), (0, (6, 2)))[i]}
        for i, name in enumerate(references)
    }
    legend = [(_with_choice(name, curves[name]), mark) for name, mark in marks.items()]
    legend += [
        (f"{name} {percent(accuracy)}", levels[name] | {"linewidth": 0.9})
        for name, (accuracy, _, _) in references.items()
    ]
    groups = []
    if len(curves) == 1:
        (curve,) = curves.values()
        present = [group for group in GROUPS if not np.isnan(getattr(curve, group)).all()]
        groups = [_Line(curve, group, 100, GROUP_MARKS[group]) for group in present]
        legend += [(line.field, line.mark) for line in groups]
    if any((curve.is_solved < 1).any() for curve in curves.values()):
        hollow = {"color": FADED, "linestyle": "none", "marker": "s", "markerfacecolor": "white"}
        legend.append(("no minimum reached", hollow))
    overall = [_Line(curve, "overall", 100, marks[name]) for name, curve in curves.items()]
    nll = [_Line(curve, "nll", 1, marks[name]) for name, curve in curves.items()]
    with look():
        size = (TEXT_WIDTH, PANEL + 0.4) if width == "page" else (COLUMN_WIDTH, 2 * PANEL + 0.6)
        figure = legend_figure(*size, legend, gap=0.04)
        shape = (1, 2) if width == "page" else (2, 1)
        left, right = figure.subplots(*shape, sharex=True).flat
        accuracies = {name: 100 * found[0] for name, found in references.items()}
        _draw_panel(left, overall, accuracies, levels, label="accuracy (%)")
        if groups:
            _draw_panel(right, groups, {}, {}, label="accuracy by group (%)")
        else:
            levels_of_nll = {name: found[2] for name, found in references.items()}
            _draw_panel(right, nll, levels_of_nll, levels, label="negative log likelihood")
        for axes in (left, right) if width == "page" else (right,):
            axes.set_xlabel("γ, the exponent of the class weights")
    return Drawing(figure, _table(curves, references))


def _with_choice(name: str, curve: GammaCurve) -> str:
    """`marr (default), γ 1.2: 43.2`: with the accuracy at the marked gamma, if it was swept."""
    if np.isnan(curve.chosen):
        return name
    at = np.flatnonzero(curve.gamma == curve.chosen)
    value = f": {percent(float(curve.overall[at[0]]))}" if len(at) else ""
    return f"{name}, γ {curve.chosen:g}{value}"


def _draw_panel(
    axes: Axes,
    lines: list[_Line],
    references: Mapping[str, float],
    levels: Mapping[str, dict[str, Any]],
    *,
    label: str,
) -> None:
    """Lines with their bands over gamma, and references at their level."""
    axes.set_ylabel(label)
    axes.grid(axis="y", color=PALE, linewidth=0.3)
    for name, level in references.items():
        axes.axhline(level, linewidth=0.9, zorder=1.5, **levels[name])
    for curve, field, unit, mark in lines:
        values = unit * getattr(curve, field)
        if hasattr(curve, f"{field}_low"):
            ends = (unit * getattr(curve, f"{field}_{end}") for end in ("low", "high"))
            axes.fill_between(curve.gamma, *ends, color=mark["color"], alpha=0.15, linewidth=0)
        axes.plot(curve.gamma, values, **mark | {"markerfacecolor": mark["color"]})
        hollow = mark | {"linestyle": "none", "markerfacecolor": "white"}
        unsolved = curve.is_solved < 1
        axes.plot(curve.gamma[unsolved], values[unsolved], **hollow)
        if not np.isnan(curve.chosen):
            axes.axvline(curve.chosen, color=SPINE, linewidth=0.6, zorder=0.5)
            ring = mark | {"linestyle": "none", "markerfacecolor": "none", "markersize": 7.5}
            is_chosen = curve.gamma == curve.chosen
            axes.plot(curve.gamma[is_chosen], values[is_chosen], **ring | {"marker": "o"})


def _table(
    curves: Mapping[str, GammaCurve], references: Mapping[str, tuple[float, float, float]]
) -> dict[str, Column]:
    fields = [name for name in vars(next(iter(curves.values()))) if name != "chosen"]
    swept = [name for name, curve in curves.items() for _ in curve.gamma]
    table: dict[str, Column] = {"series": [*swept, *references]}
    levels = np.array(list(references.values())).reshape(-1, 3)
    alone = dict(zip(("overall", "balanced", "nll"), levels.T, strict=True))
    nothing = np.full(len(references), np.nan)
    for name in fields:
        of_curves = (getattr(curve, name) for curve in curves.values())
        table[name] = np.concatenate([*of_curves, alone.get(name, nothing)])
    chosen = [curve.gamma == curve.chosen for curve in curves.values()]
    table["chosen"] = np.concatenate([*chosen, np.zeros(len(references), bool)]).astype(np.int64)
    return table
