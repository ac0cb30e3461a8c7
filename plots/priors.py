"""Accuracy and likelihood under test priors from training over uniform to its reverse.

T priors: pi^t, with pi the shares of the training images. A strip under each panel says which
method is the best under which prior.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from marr_pipeline.plots import PlotError, check_number
from marr_pipeline.plots.class_values import FRACTION, ClassValues, Values
from marr_pipeline.plots.save import Column, Drawing
from marr_pipeline.plots.style import (
    COLUMN_WIDTH,
    MAX_SERIES,
    PALE,
    SERIES_COLORS,
    SPINE,
    TEXT_WIDTH,
    Width,
    legend_figure,
    look,
    series_mark,
)

PANEL, STRIP = 1.7, 0.13  # inches, height
TICKS = {1.0: "training", 0.5: "", 0.0: "uniform", -0.5: "", -1.0: "reversed"}
CHANCE = 0.3  # opacity of a best method that chance may have made so
MARKED_SHARE = 0.04  # of the axis, from which a run has room for its mark


@dataclass(frozen=True, kw_only=True, eq=False)
class PriorValues(ClassValues):
    """What one method is worth under each prior: arrays (T,).

    Attributes:
        accuracy: a fraction, like the ends of its interval.
        accuracy_lead: 2 where it is beyond chance the highest, 1 where it is the highest, else 0.
        nll: mean negative log likelihood, of which the lowest leads.
    """

    EACH: ClassVar = "prior"
    LIMITS: ClassVar = {
        **dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high"), FRACTION),
        **dict.fromkeys(("accuracy_lead", "nll_lead"), (0, 2)),
    }

    accuracy: Values
    accuracy_low: Values
    accuracy_high: Values
    accuracy_lead: Values
    nll: Values
    nll_low: Values
    nll_high: Values
    nll_lead: Values


PANELS = (("accuracy", "accuracy (%)", 100.0), ("nll", "negative log likelihood", 1.0))


def draw_priors(
    exponents: Values,
    ratio: float,
    methods: Mapping[str, PriorValues],
    *,
    width: Width = "page",
    unit: str = "images",
) -> Drawing:
    """Each method's accuracy and negative log likelihood against the prior of the test images.

    Bands are intervals. In the strip below, the colour and mark of the best method; pale where
    chance may have made it so.

    Args:
        exponents: (T,) t, falling: 1 is the training distribution, 0 uniform, -1 its reverse.
        ratio: of the commonest class's share to the rarest's in training, at least 1.
        methods: 1 to 8 of them by name, the one before first.
        width: of both columns of a paper, panels side by side, or of one, one below the other.
        unit: what is counted, for a label.

    Returns:
        The figure and a table of one row per prior: `exponent`, `ratio` of the commonest class to
        the rarest, and for each method M and each field F of `PriorValues` the column M.F.

    Raises:
        PlotError: no method or too many to tell apart, or shapes differ.
    """
    check_number("priors", methods, MAX_SERIES, "methods")
    for name, values in methods.items():
        if values.accuracy.shape != exponents.shape:
            raise PlotError(
                f"priors[{name!r}]: {len(exponents)} priors expected, as there are exponents, got "
                f"{len(values.accuracy)}; pass values of the same priors"
            )
    legend = [(name, series_mark(i, is_line=True)) for i, name in enumerate(methods)]
    if any(
        (values.accuracy_lead == 1).any() or (values.nll_lead == 1).any()
        for values in methods.values()
    ):
        pale = {"color": PALE, "linestyle": "none", "marker": "s", "markersize": 6.0}
        legend.append(("pale: best within chance", pale))
    with look():
        is_page = width == "page"
        size = (TEXT_WIDTH, PANEL + 0.75) if is_page else (COLUMN_WIDTH, 2 * PANEL + 1.0)
        figure = legend_figure(*size, legend, gap=0.04)
        places = figure.subplot_mosaic(
            "AB;ab" if is_page else "A;a;B;b",
            height_ratios=[PANEL, STRIP] if is_page else [PANEL, STRIP] * 2,
            sharex=True,
        )
        for (field, label, per), main, strip in zip(PANELS, "AB", "ab", strict=True):
            _draw_lines(places[main], exponents, methods, field, per)
            places[main].set_ylabel(label)
            leads = [getattr(values, f"{field}_lead") for values in methods.values()]
            _draw_best(places[strip], exponents, leads)
            places[main].tick_params(axis="x", labelbottom=False)
            is_last = is_page or strip == "b"
            places[strip].tick_params(axis="x", labelbottom=is_last)
            if is_last:
                _label_priors(places[strip], ratio, unit)
        figure.align_ylabels([places[name] for name in ("A" if is_page else "AB")])
    table: dict[str, Column] = {"exponent": exponents, "ratio": ratio**exponents}
    for name, values in methods.items():
        table |= {f"{name}.{field}": value for field, value in vars(values).items()}
    return Drawing(figure, table)


def _draw_lines(
    axes: Axes, exponents: Values, methods: Mapping[str, PriorValues], field: str, unit: float
) -> None:
    axes.set_xlim(exponents[0], exponents[-1])
    axes.grid(axis="y", color=PALE, linewidth=0.3)
    axes.axvline(0.0, color=PALE, linewidth=0.6, zorder=0.5)
    step = max(1, len(exponents) // 6)
    for i, values in enumerate(methods.values()):
        low, high = (unit * getattr(values, f"{field}_{end}") for end in ("low", "high"))
        axes.fill_between(exponents, low, high, color=SERIES_COLORS[i], alpha=0.12, linewidth=0)
        axes.plot(
            exponents,
            unit * getattr(values, field),
            markevery=(i * step // len(methods), step),
            **series_mark(i, is_line=True),
        )


def _draw_best(strip: Axes, exponents: Values, leads: list[Values]) -> None:
    """Runs of priors under which one method is the best: its colour, and its mark where it fits."""
    strip.set_ylim(0.0, 1.0)
    strip.set_yticks([0.5], ["best"])
    strip.tick_params(axis="y", length=0)
    edges = np.concatenate(
        [exponents[:1], (exponents[1:] + exponents[:-1]) / 2, exponents[-1:]]
    ).tolist()
    best = [
        next(((i, lead[at]) for i, lead in enumerate(leads) if lead[at] > 0), (0, 0))
        for at in range(len(exponents))
    ]
    for (i, lead), run in groupby(range(len(exponents)), key=best.__getitem__):
        places = list(run)
        if lead == 0:
            continue  # nobody: values that do not exist
        left, right = edges[places[0]], edges[places[-1] + 1]
        patch = Rectangle((left, 0.0), right - left, 1.0, color=SERIES_COLORS[i], linewidth=0)
        patch.set_alpha(1.0 if lead == 2 else CHANCE)
        strip.add_patch(patch)
        if abs(right - left) >= MARKED_SHARE * abs(edges[0] - edges[-1]):
            mark = series_mark(i) | {"markerfacecolor": "white", "color": SPINE}
            strip.plot([(left + right) / 2], [0.5], markersize=4.0, **mark)


def _label_priors(axes: Axes, ratio: float, unit: str) -> None:
    """How much more often the commonest class comes than the rarest, and what it is called."""
    labels = []
    for exponent, name in TICKS.items():
        share = f"{ratio ** abs(exponent):.3g}"
        times = f"{share}:1" if exponent > 0 else f"1:{share}" if exponent < 0 else "1:1"
        labels.append(f"{times}\n{name}".rstrip())
    axes.set_xticks(list(TICKS), labels)
    axes.set_xlabel(f"test {unit} of the commonest class : of the rarest")
