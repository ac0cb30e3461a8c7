"""A figure and the numbers it shows, side by side: NAME.png and NAME.csv."""

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.style import LARGE, POINTS_PER_INCH, look, text_width

Column = Sequence[str] | Sequence[int] | Sequence[float] | npt.NDArray[np.generic]
Table = Mapping[str, Column]


class Drawing(NamedTuple):
    """A figure and the numbers it shows.

    Attributes:
        figure: its size on paper is its own.
        table: column name to equally long 1-D values.
    """

    figure: Figure
    table: Table


TITLE_GAP = 0.04  # inches, around a title
MARK = "marr-pipeline"
"""By which a figure is known as one of this program."""
# Without a date in them, two runs write the same bytes.
FORMATS: dict[str, dict[str, str | None]] = {
    ".png": {"Software": MARK},
    ".pdf": {"Creator": MARK, "CreationDate": None},
    ".svg": {"Creator": MARK, "Date": None},
}

ID = re.compile(r'(?<=\bid=")|(?<=url\(#)|(?<=href="#)')
"""Where an id of an SVG begins."""
BETWEEN_TAGS, PATH_DATA = re.compile(r">\s*(?:<!--.*?-->\s*)?<", re.S), re.compile(r'\bd="[^"]*"')
DECIMALS = re.compile(r"(\.\d\d)\d+")
PAGE_DOTS = 300
PAGE_DPI = 130


def save_drawing(
    drawing: Drawing,
    path: Path,
    *,
    dpi: int | None = None,
    title: str = "",
    replacing: Callable[[Path], AbstractContextManager[Path]] = nullcontext,
) -> tuple[Path, Path]:
    """Write a figure and, under the same name with `.csv`, the numbers it shows.

    Args:
        drawing: from one of this package's figures. In its numbers NaN becomes an empty cell, and
            floats are written with the digits that give the same number back.
        path: the picture; its suffix says `.png`, `.pdf` or `.svg`.
        dpi: dots per inch of a `.png`; None for the look's.
        title: over the figure, whose paper grows by its lines.
        replacing: gives the file to write in place of each of the two, which becomes it when both
            are whole; without it they are written at their places.

    Returns:
        The two paths, picture first.

    Raises:
        PlotError: an unknown suffix, or columns that do not make a table.
        OSError: the files cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise PlotError(
            f"{path}: a name ending in {', '.join(FORMATS)} expected, got {path.suffix!r}; "
            "the ending chooses the format"
        )
    rows = _rows(drawing.table)
    csv_path = path.with_suffix(".csv")
    with replacing(path) as picture, replacing(csv_path) as numbers:
        with look(), _titled(drawing.figure, title) as paper:
            drawing.figure.savefig(
                picture,
                format=suffix[1:],
                metadata=FORMATS[suffix],
                dpi=dpi or "figure",
                bbox_inches=paper,
            )
        with numbers.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(drawing.table)
            writer.writerows(rows)
    return path, csv_path


@contextmanager
def _titled(figure: Figure, title: str) -> Iterator[Bbox | None]:
    """Lines of a title over the paper; yields the larger paper in inches, None without a title."""
    if not title.strip():
        yield None
        return
    width, height = figure.get_size_inches()
    room = (width - 2 * TITLE_GAP) * POINTS_PER_INCH
    average = text_width(title, size=LARGE) / len(title)
    for length in range(round(room / average) + 5, 0, -1):
        lines = textwrap.wrap(title, length)
        if max(text_width(line, size=LARGE) for line in lines) <= room:
            break
    line_height = 1.25 * LARGE / POINTS_PER_INCH
    text = figure.text(
        TITLE_GAP / width,
        1 + TITLE_GAP / height,
        "\n".join(lines),
        fontsize=LARGE,
        va="bottom",
        linespacing=1.1,
    )
    # A legend outside of the panels would move to the edge of the larger paper.
    figure.draw_without_rendering()
    layout = figure.get_layout_engine()
    figure.set_layout_engine("none")
    for legend in figure.legends:
        legend.set_bbox_to_anchor((0.0, 0.0, 1.0, 1.0), transform=figure.transFigure)
    try:
        yield Bbox([[0.0, 0.0], [width, height + 2 * TITLE_GAP + len(lines) * line_height]])
    finally:
        text.remove()
        figure.set_layout_engine(layout)
        for legend in figure.legends:
            legend.set_bbox_to_anchor(None)


def svg_text(drawing: Drawing, *, prefix: str) -> str:
    """A figure as an SVG element to stand in a page of HTML beside others, small and for a screen.

    Series of more than `PAGE_DOTS` dots become an image and letters lose their halo; the rest stays
    vectors, to a hundredth of a point.

    Args:
        drawing: from one of this package's figures.
        prefix: what its ids begin with, of its own in the page.
    """
    for line in drawing.figure.findobj(Line2D):
        if line.get_linestyle() == "None" and np.size(line.get_xdata(orig=False)) > PAGE_DOTS:
            line.set_rasterized(True)
    for text in drawing.figure.findobj(Text):
        text.set_path_effects([])  # a halo writes every letter's outline twice
    written = io.StringIO()
    with look():
        drawing.figure.savefig(written, format="svg", metadata=FORMATS[".svg"], dpi=PAGE_DPI)
    svg = written.getvalue()
    svg = BETWEEN_TAGS.sub("><", PATH_DATA.sub(_shorter, svg[svg.index("<svg") :]))
    return ID.sub(rf"\g<0>{prefix}-", svg)


def _shorter(path: re.Match[str]) -> str:
    return DECIMALS.sub(r"\1", " ".join(path[0].split()))


def _rows(table: Table) -> list[tuple[object, ...]]:
    columns = {name: np.asarray(column) for name, column in table.items()}
    shapes = {name: column.shape for name, column in columns.items()}
    if not shapes or len(set(shapes.values())) != 1 or any(len(s) != 1 for s in shapes.values()):
        raise PlotError(
            f"table: at least one column, all 1-D and equally long, expected, got {shapes}; "
            "pass one value per row in every column"
        )
    cells = [["" if x != x else x for x in column.tolist()] for column in columns.values()]
    return list(zip(*cells, strict=True))
