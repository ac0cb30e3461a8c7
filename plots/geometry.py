"""Hyperplanes of two classes before and after rectification, in a plane, to scale (Figure 2).

D features z, classes j with logit_j = W_j . z + b_j. A class's hyperplane is where its logit is 0,
and the distance of a sample to it, logit_j / ||W_j||, is its margin. In the plane that two rows of
W span both logits are exact: what a sample has across that plane changes neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from marr_pipeline.plots import PlotError, check_number
from marr_pipeline.plots.save import Column, Drawing
from marr_pipeline.plots.style import (
    COLUMN_WIDTH,
    INK,
    LARGE,
    NORMAL,
    POINTS_PER_INCH,
    SERIES_COLORS,
    SERIES_MARKERS,
    SPINE,
    TEXT_WIDTH,
    Width,
    legend_figure,
    look,
    percent,
    shorten,
    text_width,
)

Floats = npt.NDArray[np.float64]

SIDE, ENDS = 0.42, 0.95  # inches beside a panel, and over and under it: labels, title, captions
SHAPE = 1.4  # width of a panel by its height
MAX_PANELS = 4
SEEN = (0.5, 99.5)  # per cent of the samples, between which the panels reach
MARGIN = 0.08  # of what they reach over, kept free around it
PARALLEL = 1e-6
"""Share of its length across the other row, below which a row spans no plane with it."""
MAX_VECTORS = 5_000  # samples beyond which they are drawn as one image
NAME_LENGTH = 18  # characters of a class name under a panel
LINES: tuple[dict[str, Any], ...] = (
    {"color": SERIES_COLORS[0], "linestyle": (0, (5, 1.5))},
    {"color": SERIES_COLORS[1], "linestyle": (0, (6, 1.5, 1, 1.5))},
    {"color": INK, "linewidth": 1.4},
)
"""Hyperplanes of both classes and the boundary, in the order of `PlaneHead.lines`."""
FAINT = {"color": SPINE, "linewidth": 0.7}


@dataclass(frozen=True, kw_only=True, eq=False)
class PlaneHead:
    """Two classes' logits in the plane: weight @ (x, y) + bias.

    Attributes:
        weight: (2, 2), a row a class.
        bias: (2,).
        margin_norm: (2,) by which a logit is divided to give a margin.
    """

    weight: Floats
    bias: Floats
    margin_norm: Floats

    def logits(self, points: Floats) -> Floats:
        """(N, 2) of points (N, 2)."""
        return points @ self.weight.T + self.bias

    def lines(self) -> list[tuple[Floats, float]]:
        """Hyperplanes of both classes and the boundary between them: unit normal . p = offset.

        A line that does not exist, since its normal is 0, is NaN.
        """
        weight = [*self.weight, self.weight[1] - self.weight[0]]
        bias = [*self.bias, self.bias[1] - self.bias[0]]
        found = []
        for normal, constant in zip(weight, bias, strict=True):
            length = float(np.linalg.norm(normal)) or float("nan")
            found.append((normal / length, -float(constant) / length))
        return found


def plane_basis(rows: Floats, features: Floats) -> Floats:
    """Orthonormal basis (D, 2) of the plane of two rows (2, D); in two dimensions the axes.

    The first direction goes from the first row to the second, so that the boundary between the two
    classes is upright. Parallel rows span a line alone; then the second is the one along which the
    features (N, D), N >= 2, differ most.
    """
    if rows.shape[1] == 2:
        return np.eye(2)
    centred = features - features.mean(0)
    candidates = [rows[1] - rows[0], rows.sum(0), rows[0]]
    if np.linalg.matrix_rank(rows, tol=PARALLEL * np.abs(rows).max()) < 2:
        candidates += [*np.linalg.svd(centred, full_matrices=False)[2]]
    basis: list[Floats] = []
    for vector in candidates:
        rest = vector - sum((direction @ vector) * direction for direction in basis)
        is_new = np.linalg.norm(rest) > PARALLEL * np.linalg.norm(vector)
        if is_new and len(basis) < 2:
            basis.append(rest / np.linalg.norm(rest))
    return np.stack(basis, axis=1)


def draw_geometry(
    points: Floats,
    labels: npt.NDArray[np.int64],
    heads: Mapping[str, PlaneHead],
    *,
    classes: tuple[int, int],
    names: tuple[str, str],
    axis_labels: tuple[str, str],
    width: Width = "page",
) -> Drawing:
    """A panel for each method, all to the same scale: samples, hyperplanes and the boundary.

    Faint lines in later panels are those of the first. Below each stand, of each class, the mean
    margin of its samples to its own hyperplane, how much that changed, and the share of them on its
    own side of the boundary. Samples far out may lie beyond the panels, not beyond the table.

    Args:
        points: (N, 2) samples in the plane.
        labels: (N,) 0 or 1, which of the two classes.
        heads: 1 to 4 methods by name, the one before first.
        classes: ids of the two.
        names: of the two.
        axis_labels: what the two directions of the plane are.
        width: of both columns of a paper, two panels a row, or of one, one a row.

    Returns:
        The figure and a table with a row a sample, then for each method a row for each hyperplane
        and one for the boundary: `kind`, `method`, `class_id`, `x`, `y` (of a line its unit
        normal), `offset` (x, y on the line: normal . (x, y)), and of hyperplanes `mean_margin` and
        `own_side`, a fraction.

    Raises:
        PlotError: no method or too many, shapes that do not fit, or a class without samples.
    """
    check_number("geometry", heads, MAX_PANELS, "methods")
    if points.shape != (len(labels), 2) or set(labels.tolist()) != {0, 1}:
        raise PlotError(
            f"geometry: samples (N, 2) of both classes expected, got {points.shape} of "
            f"{sorted(set(labels.tolist()))}; choose classes that have samples"
        )
    facts = {name: _facts(head, points, labels) for name, head in heads.items()}
    with look():
        num_columns = min(len(heads), 2) if width == "page" else 1
        num_rows = -(-len(heads) // num_columns)
        paper = TEXT_WIDTH if num_columns == 2 else COLUMN_WIDTH
        row = (paper / num_columns - SIDE) / SHAPE + ENDS
        figure = legend_figure(
            paper, num_rows * row, _legend(names, len(heads)), gap=0.03, layout="compressed"
        )
        grid = figure.subplots(num_rows, num_columns, squeeze=False)
        limits = _limits(points)
        before = next(iter(heads))
        for i, (axes, (name, head)) in enumerate(zip(grid.flat, heads.items(), strict=False)):
            axes.set(xlim=limits[0], ylim=limits[1], aspect="equal")
            _draw_samples(axes, points, labels)
            if i > 0:
                _draw_lines(axes, heads[before], is_faint=True)
            _draw_lines(axes, head)
            length = (paper / num_columns - SIDE) * POINTS_PER_INCH
            axes.set_title(shorten(name, length=int(length / (0.6 * LARGE))), pad=4)
            earlier = facts[before] if i > 0 else None
            captions = _captions(names, facts[name], earlier, length=length - 8)
            axes.set_xlabel("\n".join([axis_labels[0], *captions]))
            axes.set_ylabel(axis_labels[1] if i % num_columns == 0 else "")
        for axes in grid.flat[len(heads) :]:
            axes.set_axis_off()
    return Drawing(figure, _table(points, labels, heads, facts, classes))


def _facts(
    head: PlaneHead, points: Floats, labels: npt.NDArray[np.int64]
) -> list[tuple[float, float]]:
    """Mean own margin, and share on the own side of the boundary, of each class."""
    logits = head.logits(points)
    own = [logits[labels == j] for j in (0, 1)]
    return [
        (
            float((rows[:, j] / head.margin_norm[j]).mean()),
            float((rows[:, j] > rows[:, 1 - j]).mean()),
        )
        for j, rows in enumerate(own)
    ]


def _limits(points: Floats) -> list[tuple[float, float]]:
    """Of both axes, in the shape of a panel."""
    low, high = np.percentile(points, SEEN, axis=0)
    center, reach = (low + high) / 2, (high - low) * (1 + 2 * MARGIN)
    height = max(reach[1], reach[0] / SHAPE) or 1.0
    half = np.array([SHAPE * height, height]) / 2
    return [(float(c - h), float(c + h)) for c, h in zip(center, half, strict=True)]


def _legend(names: Sequence[str], num_panels: int) -> list[tuple[str, dict[str, Any]]]:
    short = [shorten(name, length=NAME_LENGTH) for name in names]
    dots = [
        {"linestyle": "none", "marker": SERIES_MARKERS[j], "color": SERIES_COLORS[j]}
        for j in (0, 1)
    ]
    lines = [*(f"{name}, margin 0" for name in short), "decision boundary"]
    before = [("before", FAINT)] if num_panels > 1 else []
    return [*zip(short, dots, strict=True), *zip(lines, LINES, strict=True), *before]


def _draw_samples(axes: Axes, points: Floats, labels: npt.NDArray[np.int64]) -> None:
    size = float(np.clip(60 / np.sqrt(len(points)), 1.2, 3.5))
    for j in (0, 1):
        own = points[labels == j]
        axes.plot(
            *own.T,
            linestyle="none",
            marker=SERIES_MARKERS[j],
            markersize=size,
            markeredgewidth=0.3,
            markeredgecolor="white",
            color=SERIES_COLORS[j],
            alpha=0.55,
            rasterized=len(points) > MAX_VECTORS,
        )


def _draw_lines(axes: Axes, head: PlaneHead, *, is_faint: bool = False) -> None:
    """Both hyperplanes and the boundary, whose sides are tinted in their class's colour."""
    reach = 4 * max(abs(end) for end in (*axes.get_xlim(), *axes.get_ylim()))
    for kind, (normal, offset) in enumerate(head.lines()):
        if np.isnan(normal).any():
            continue
        foot, along = normal * offset, np.array([-normal[1], normal[0]])
        style = LINES[kind] | (FAINT if is_faint else {})
        line = axes.axline(tuple(foot), tuple(foot + along), zorder=2.5 if is_faint else 3, **style)
        line.set_in_layout(False)  # without an end, it would take all the room
        if kind == 2 and not is_faint:
            reach += abs(offset)
            ends = np.stack([foot - reach * along, foot + reach * along])
            for j, sign in enumerate((-1, 1)):
                corners = np.concatenate([ends, ends[::-1] + sign * reach * normal])
                side = Polygon(corners, color=SERIES_COLORS[j], alpha=0.07, linewidth=0, zorder=0)
                side.set_in_layout(False)
                axes.add_patch(side)


def _captions(
    names: Sequence[str],
    facts: list[tuple[float, float]],
    before: list[tuple[float, float]] | None,
    *,
    length: float,
) -> list[str]:
    """`airplane: mean margin 1.10 (-0.22), own side 90.3 %`, a line a class of `length` points."""
    lines = []
    for j, (name, (margin, share)) in enumerate(zip(names, facts, strict=True)):
        change = "" if before is None else f" ({margin - before[j][0]:+.2f})"
        text = f"mean margin {margin:.2f}{change}".replace("-", "−")
        text = f"{text}, own side {percent(share)} %"
        fitting = (f"{shorten(name, length=n)}: {text}" for n in range(NAME_LENGTH, 0, -1))
        lines.append(next((t for t in fitting if text_width(t, size=NORMAL) <= length), text))
    return lines


def _table(
    points: Floats,
    labels: npt.NDArray[np.int64],
    heads: Mapping[str, PlaneHead],
    facts: Mapping[str, list[tuple[float, float]]],
    classes: tuple[int, int],
) -> dict[str, Column]:
    rows: list[tuple[str, str, str, float, float, float, float, float]] = []
    nothing = float("nan")
    for (x, y), j in zip(points.tolist(), labels.tolist(), strict=True):
        rows.append(("sample", "", str(classes[j]), x, y, nothing, nothing, nothing))
    for name, head in heads.items():
        for kind, (normal, offset) in enumerate(head.lines()):
            x, y = normal.tolist()
            if kind < 2:
                whose = str(classes[kind])
                rows.append(("hyperplane", name, whose, x, y, offset, *facts[name][kind]))
            else:
                rows.append(("boundary", name, "", x, y, offset, nothing, nothing))
    names = ("kind", "method", "class_id", "x", "y", "offset", "mean_margin", "own_side")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
