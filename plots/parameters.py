"""What a method adds to and multiplies the logits of each class by, against how common it is.

K classes. MARR's rectified logit of class k is omega_k z_k + beta_k ||W_k||, other methods' scale_k
z_k + shift_k; a constant added to all shifts changes no prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.class_axis import (
    ClassAxis,
    draw_groups,
    names_width,
    naming_note,
    readable,
)
from marr_pipeline.plots.class_values import ClassValues, Values, check_series, class_table
from marr_pipeline.plots.save import Drawing
from marr_pipeline.plots.style import (
    INK,
    PALE,
    PAPER_WIDTH,
    POINTS_PER_INCH,
    SERIES_COLORS,
    SMALL,
    SPINE,
    Width,
    legend_figure,
    look,
    series_mark,
    text_width,
)

REFERENCE = "logit adjustment"
IDENTITY = "identity"
HEIGHT = {1: 3.85, 2: 2.35}  # inches, without the legend and the names of classes
LENGTH = {1: 0.82, 2: 0.42}  # of the paper's width, that a panel is long, nearly, by panels across
BINS_PER_DECADE = 6  # of training images, whose classes are averaged where they are many
MARGIN = 0.06  # of the axis, beyond the first and the last class
MAX_TICKS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class MarginParameters(ClassValues):
    """MARR's numbers.

    Attributes:
        omega: (K,) factors of the margins.
        beta: (K,) added to the margins.
    """

    LABELS: ClassVar = {"omega": "ω", "beta": "β"}

    omega: Values
    beta: Values


@dataclass(frozen=True, kw_only=True, eq=False)
class LogitParameters(ClassValues):
    """The numbers of any method that is affine in each logit.

    Attributes:
        scale: (K,) factors of the logits.
        shift: (K,) added to the logits.
    """

    LABELS: ClassVar = {"scale": "scale", "shift": "shift (logits)"}

    scale: Values
    shift: Values


Parameters = MarginParameters | LogitParameters


def draw_parameters(
    axis: ClassAxis,
    parameters: Mapping[str, Parameters],
    *,
    reference: Parameters,
    width: Width = "page",
) -> Drawing:
    """Two panels over the training images of a class on a log scale: factors, and what is added.

    Up to 50 classes a line leads from class to class; beyond, through the means of the classes in
    bins of equal width (6 a decade) over the faint dots of the single ones. Classes without
    training images have no place on the axis and stand in the table alone. Where the classes have
    their names, these stand with their counts in place of round numbers, and the panels one below
    the other if the names need the length.

    Args:
        axis: the K classes.
        parameters: name of a method to its numbers, 1 to 8 of one kind.
        reference: logit adjustment in the same kind of numbers.
        width: of both columns of a paper with the panels side by side, or of one.

    Returns:
        The figure, and the `class_table` of the numbers, the reference's last.

    Raises:
        PlotError: shapes or kinds differ, no series or too many to tell apart, or no class has
            training images.
    """
    check_series("parameters", parameters, axis)
    kinds = {type(one) for one in (*parameters.values(), reference)}
    if len(kinds) > 1 or not axis.class_counts.any():
        raise PlotError(
            f"parameters: one kind of numbers and classes with training images expected, got "
            f"{' and '.join(sorted(kind.__name__ for kind in kinds))} of "
            f"{(axis.class_counts > 0).sum()} classes with images"
        )
    paper = PAPER_WIDTH[width]
    with look():
        marks = [(name, series_mark(i, is_line=True)) for i, name in enumerate(parameters)]
        marks += [
            (REFERENCE, {"color": INK, "linewidth": 0.9}),
            (IDENTITY, {"color": SPINE, "linewidth": 0.9, "linestyle": ":"}),
        ]
        side_by_side = LENGTH[2] * paper * POINTS_PER_INCH
        across = 1 if width == "column" or axis.is_crowded(side_by_side) else 2
        length = LENGTH[across] * paper * POINTS_PER_INCH
        height = HEIGHT[across]
        if _is_named(axis):
            height += names_width(axis) / POINTS_PER_INCH
        figure = legend_figure(paper, height, marks, gap=0.03)
        grid = figure.subplots(2 // across, across, sharex=True, squeeze=False)
        panels = zip(grid.flat, reference.LABELS.items(), strict=True)
        for axes, (quantity, label) in panels:
            label_of_x = _lay_out(axes, axis, length=length)
            axes.axhline(
                float(quantity in ("omega", "scale")), color=SPINE, linewidth=0.9, linestyle=":"
            )
            x, values = _means(axis, reference.by_rank(quantity, axis))
            axes.plot(x, values, color=INK, linewidth=0.9)
            for i, series in enumerate(parameters.values()):
                _draw_series(axes, axis, series.by_rank(quantity, axis), i)
            axes.set_ylabel(label)
        for axes in grid[-1]:
            axes.set_xlabel(label_of_x)
            axes.tick_params(labelbottom=True)
        figure.align_ylabels(list(grid[:, 0]))
    return Drawing(figure, class_table(axis, {**parameters, REFERENCE: reference}))


def _is_named(axis: ClassAxis) -> bool:
    """Ids, beside counts, have to be asked for."""
    return axis.shows_names and bool(axis.is_named or axis.class_names)


def _places(axis: ClassAxis) -> npt.NDArray[np.float64]:
    """x (K',) of the classes with training images, from head to tail: -log10 of their number."""
    counts = axis.class_counts[axis.order]
    return -np.log10(counts[counts > 0])


def _lay_out(axes: Axes, axis: ClassAxis, *, length: float) -> str:
    """The axis of counts, the commonest class left, and the groups over it; what it is called."""
    x = _places(axis)
    margin = MARGIN * max(float(np.ptp(x)), 0.5)
    left, right = float(x[0]) - margin, float(x[-1]) + margin
    inner = [
        float(x[before.stop - 1 : before.stop + 1].mean()) if before.stop < len(x) else right
        for before, _ in pairwise(axis.spans)
    ]
    draw_groups(axes, axis, length=length, edges=[left, *inner, right])
    axes.set_xlim(left, right)
    axes.grid(color=PALE, linewidth=0.3)
    if _is_named(axis):
        places = (x - left) / (right - left) * length
        ranks = readable(places)
        names, counts = axis.tick_labels(), axis.class_counts[axis.order]
        labels = [f"{names[rank]}  {counts[rank]:,}" for rank in ranks]
        widest = max(text_width(label, size=SMALL) for label in labels)
        is_upright = len(ranks) > 1 and widest > 0.9 * np.diff(places[ranks]).min()
        axes.set_xticks(x[ranks], labels, rotation=90 if is_upright else 0)
        return f"class and its training {axis.unit}{naming_note(len(ranks), axis.num_classes)}"
    ticks = _round_counts(10 ** -float(x[-1]), 10 ** -float(x[0]))
    axes.set_xticks([-np.log10(tick) for tick in ticks], [f"{tick:,}" for tick in ticks])
    return f"training {axis.unit} of the class"


def _round_counts(low: float, high: float) -> list[int]:
    """At most six round numbers in low..high, or both ends where fewer than two are."""
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [
            factor * 10**decade
            for decade in range(20)
            for factor in factors
            if low * (1 - 1e-9) <= factor * 10**decade <= high * (1 + 1e-9)
        ]
        if len(found) <= MAX_TICKS:
            break
    return found if len(found) > 1 else sorted({round(low), round(high)})


def _means(
    axis: ClassAxis, values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """x and height of a line over classes (K,) from head to tail."""
    x = _places(axis)
    values = values[: len(x)]
    if not axis.is_smoothed:
        return x, values
    bins = np.floor((x - x[0]) * BINS_PER_DECADE).astype(np.int64)
    members = np.bincount(bins)
    filled = members > 0
    x_mean, mean = (np.bincount(bins, of)[filled] / members[filled] for of in (x, values))
    return x_mean, mean


def _draw_series(axes: Axes, axis: ClassAxis, values: npt.NDArray[np.float64], series: int) -> None:
    if axis.is_smoothed:
        x = _places(axis)
        axes.scatter(
            x, values[: len(x)], s=3.0, color=SERIES_COLORS[series], alpha=0.3, linewidths=0
        )
    x, means = _means(axis, values)
    axes.plot(x, means, **series_mark(series, is_line=True) | {"linewidth": 0.9})
