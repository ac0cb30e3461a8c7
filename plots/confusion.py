"""Confusion matrices side by side, classes from head to tail on both axes (Figures 3c and 3d).

K classes. Rows are true classes, columns predicted ones; a row shows which share of a class's
images went where. A class without images has no shares: its row is hatched, not zero.
"""

from collections.abc import Mapping
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from marr_pipeline.plots import PlotError, check_number
from marr_pipeline.plots.class_axis import (
    NAME_PITCH,
    ClassAxis,
    label_groups,
    name_classes,
    names_width,
    rule_groups,
)
from marr_pipeline.plots.save import Drawing, Table
from marr_pipeline.plots.smoothing import known_mean
from marr_pipeline.plots.style import (
    BAND,
    COLUMN_WIDTH,
    LARGE,
    NORMAL,
    PALE,
    POINTS_PER_INCH,
    SMALL,
    TEXT_WIDTH,
    look,
    new_figure,
    percent,
    share_colormap,
    shorten,
    text_color_on,
    text_width,
)

MAX_MATRICES = 4
MAX_WRITTEN_CLASSES = 20  # up to it a cell holds its number
MAX_DENSE_CLASSES = 100  # beyond it the table lists only the cells that are not zero
GAMMA = 0.5  # of the colours of a large matrix: 1 % of a row is still seen
MAX_VISIBLE_CELLS = 200  # classes whose cells are two dots or more
NUM_BLOCKS = 100  # at most, of neighbouring classes, that are cells in their place beyond it
MAX_HEIGHT = 12.5  # inches of a figure with a matrix a row, so that all names can be read
FULL_CELL = 14.5  # points; a cell as wide holds "100"
LINE = 10.5  # points of one line of text and its gap
Counts = npt.NDArray[np.int64]


def draw_confusion(axis: ClassAxis, counts: Mapping[str, Counts]) -> Drawing:
    """One row-normalised matrix per series with a common colour bar.

    Up to 20 classes each cell holds its per cent (narrow cells only from 0.5 on); beyond, the
    colours follow a root of the share (`GAMMA`), and lines part the groups. Beyond 200 classes a
    cell is a block of neighbours: the share of the images of its rows that went to its columns.
    Below each matrix stands its accuracy by group. Matrices stand one below the other where that
    lets all names be read.

    Args:
        axis: the K classes.
        counts: name of a method to its images (K, K) by true and predicted class, 1 to 4 of them.

    Returns:
        A figure of both columns' width, or narrower for a single matrix. Its table has one row per
        cell, classes from head to tail, beyond 100 classes only for cells with images: series,
        true_class, predicted_class (ids), true_name and predicted_name (empty without names),
        true_group, count, and fraction of the true class's images (NaN if it has none).

    Raises:
        PlotError: shapes differ, a count is negative, or there is no matrix or more than four.
    """
    _check(axis, counts)
    is_written = axis.num_classes <= MAX_WRITTEN_CLASSES
    norm = Normalize(0, 100) if is_written else PowerNorm(GAMMA, 0, 100)
    block = block_size(axis.num_classes)
    blocks = f", blocks of {block}" if block > 1 else ""
    with look():
        layout = _layout(axis, num_matrices=len(counts))
        figure = new_figure(layout.width, layout.height, layout="compressed")
        title_length = int(layout.side / (0.6 * LARGE))  # characters
        grid = figure.subplots(layout.num_rows, layout.num_columns, squeeze=False)
        for i, (axes, (name, matrix)) in enumerate(zip(grid.flat, counts.items(), strict=False)):
            _draw_matrix(axes, matrix, axis, norm=norm, cell=layout.side / axis.num_classes)
            note = blocks + _mark_classes(axes, axis, length=layout.side)
            is_first = i % layout.num_columns == 0
            axes.set_ylabel(f"true class{note}" if is_first else "")
            axes.tick_params(labelleft=is_first)
            axes.set_title(shorten(name, length=title_length), pad=12 if axis.shows_names else 5)
            caption = _caption(matrix, axis, length=layout.side)
            axes.set_xlabel(f"predicted class{note}\n{caption}")
        for axes in grid.flat[len(counts) :]:
            axes.set_axis_off()
        bar = figure.colorbar(grid[0, 0].images[0], ax=grid, fraction=0.05, aspect=30, pad=0.02)
        whole = "block of classes" if block > 1 else "class"
        bar.set_label(f"share of the true {whole} (%)")
        bar.outline.set_visible(False)
    return Drawing(figure, _table(axis, counts))


def _table(axis: ClassAxis, counts: Mapping[str, Counts]) -> Table:
    cells: list[tuple[npt.NDArray[Any], ...]] = []
    for name, matrix in counts.items():
        ordered = matrix[np.ix_(axis.order, axis.order)]
        is_listed = (ordered > 0) | (axis.num_classes <= MAX_DENSE_CLASSES)
        true, predicted = (axis.order[ranks] for ranks in np.nonzero(is_listed))
        shares = row_shares(ordered)[is_listed]
        cells.append((np.full(len(true), name), true, predicted, ordered[is_listed], shares))
    series, true, predicted, count, fraction = map(np.concatenate, zip(*cells, strict=True))
    return {
        "series": series,
        "true_class": true,
        "predicted_class": predicted,
        "true_name": [axis.names[class_id] for class_id in true],
        "predicted_name": [axis.names[class_id] for class_id in predicted],
        "true_group": [axis.group_names[class_id] for class_id in true],
        "count": count,
        "fraction": fraction,
    }


def _check(axis: ClassAxis, counts: Mapping[str, Counts]) -> None:
    check_number("counts", counts, MAX_MATRICES, "matrices")
    shape = (axis.num_classes, axis.num_classes)
    for name, matrix in counts.items():
        if matrix.shape != shape or matrix.dtype.kind not in "iu" or matrix.min() < 0:
            raise PlotError(
                f"counts[{name!r}]: {shape} integers of at least 0 expected, got {matrix.shape} of "
                f"{matrix.dtype}; pass numbers of images by true and predicted class"
            )


def block_size(num_classes: int) -> int:
    """Classes in one row of cells: one where single classes are still seen."""
    return 1 if num_classes <= MAX_VISIBLE_CELLS else -(-num_classes // NUM_BLOCKS)


def in_blocks(matrix: Counts, size: int) -> Counts:
    """Sums (B, B) over blocks of `size` neighbouring rows and columns, the last maybe smaller."""
    starts = np.arange(0, len(matrix), size)
    return np.asarray(np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1))


def row_shares(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Share (K, K) of each row's images in each of its cells; NaN in a row without images."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.full(matrix.shape, np.nan)
    np.divide(matrix, totals, out=shares, where=totals > 0)
    return shares


class _Layout(NamedTuple):
    """How the matrices share the page; `side` of one matrix in points, the figure in inches."""

    num_rows: int
    num_columns: int
    width: float
    height: float
    side: float


def _layout(axis: ClassAxis, *, num_matrices: int) -> _Layout:
    """Matrices as large as the page's width allows; three in a row only if numbers still fit."""
    num_classes = axis.num_classes
    is_written = num_classes <= MAX_WRITTEN_CLASSES
    has_three = num_matrices == 3 and (num_classes <= 12 or not is_written)
    num_columns = 3 if has_three else min(num_matrices, 2)
    width = TEXT_WIDTH if num_columns > 1 else COLUMN_WIDTH * (1.25 if is_written else 1.0)
    names = names_width(axis) + 4.0 if axis.shows_names else LINE
    beside = names + 1.5 * LINE + 4.0 * LINE  # with the label of the rows, and the colour bar
    side = (width * POINTS_PER_INCH - beside) / num_columns - 13.0

    def of(num_columns: int, width: float, side: float) -> _Layout:
        num_rows = -(-num_matrices // num_columns)
        under = names if axis.shows_names and names > side / num_classes else LINE
        row = (2.5 if axis.shows_names else 1.5) * LINE + side + under + 2.6 * LINE
        height = num_rows * row + (LINE if num_columns == 3 else 0.0)
        return _Layout(num_rows, num_columns, width, height / POINTS_PER_INCH, side)

    if axis.is_crowded(side):
        stacked = min(TEXT_WIDTH * POINTS_PER_INCH - beside - 13.0, NAME_PITCH * num_classes)
        alone = of(1, (stacked + beside + 13.0) / POINTS_PER_INCH, stacked)
        if alone.height <= MAX_HEIGHT:
            return alone
    return of(num_columns, width, side)


def _draw_matrix(
    axes: Axes, matrix: Counts, axis: ClassAxis, *, norm: Normalize, cell: float
) -> None:
    cmap = share_colormap()
    size = block_size(axis.num_classes)
    shares = row_shares(in_blocks(matrix[np.ix_(axis.order, axis.order)], size))
    of_rank = np.arange(axis.num_classes) // size
    percents = 100 * shares[np.ix_(of_rank, of_rank)]
    axes.imshow(np.ma.masked_invalid(percents), cmap=cmap, norm=norm)
    axes.spines[:].set_visible(True)
    rule_groups(axes, axis)
    is_absent = np.isnan(percents[:, 0])
    _hatch_rows(axes, is_absent)
    if axis.num_classes > MAX_WRITTEN_CLASSES:
        return
    for (row, column), value in np.ndenumerate(percents):
        is_nothing = cell < FULL_CELL and value < 0.5
        if is_absent[row] or is_nothing:
            continue
        background = cmap(norm(value))
        text = axes.text(column, row, f"{value:.0f}", ha="center", va="center", size=SMALL)
        text.set_color(text_color_on(background))
        if cell < FULL_CELL:
            # "100" is wider than its cell: its own ground goes with it.
            text.set_path_effects([withStroke(linewidth=1.5, foreground=background)])


def _hatch_rows(axes: Axes, is_absent: npt.NDArray[np.bool_]) -> None:
    """Cover the rows (K,) that have no images, one patch for each run of them."""
    for absent, run in groupby(range(len(is_absent)), key=lambda rank: bool(is_absent[rank])):
        rows = list(run)
        if absent:
            patch = Rectangle((-0.5, rows[0] - 0.5), len(is_absent), len(rows))
            patch.set(facecolor=BAND, edgecolor=PALE, linewidth=0, hatch="////")
            axes.add_patch(patch)


def _mark_classes(axes: Axes, axis: ClassAxis, *, length: float) -> str:
    """The groups, and the names of classes if they are shown; what the labels say of those."""
    if not axis.shows_names:
        label_groups(axes, axis, side="bottom", length=length)
        label_groups(axes, axis, side="left", length=length)
        return ""
    label_groups(axes, axis, side="top", length=length)
    name_classes(axes, axis, length=length, side="left")
    return name_classes(axes, axis, length=length)


def _caption(matrix: Counts, axis: ClassAxis, *, length: float) -> str:
    """Accuracy by group in one line, or in two where one is longer than `length` points.

    A group's is the mean over its classes that have images; a group without any class is left out.
    `overall` is the share of all images that are right.
    """
    accuracy = np.diagonal(row_shares(matrix))
    groups = {name: members for name, members in axis.groups.items() if members.any()}
    parts = [f"{name} {percent(known_mean(accuracy[own]))}" for name, own in groups.items()]
    total = matrix.sum()
    parts.append(f"overall {percent(np.trace(matrix) / total if total else np.nan)}")
    line = "  ".join(parts)
    if text_width(line, size=NORMAL) <= length:
        return line
    return "  ".join(parts[:-1]) + "\n" + parts[-1]
