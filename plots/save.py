"""A figure and the numbers it shows, side by side: NAME.png and NAME.csv."""

import csv
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from marr_pipeline.plots.errors import PlotError
from marr_pipeline.plots.style import look

Column = Sequence[str] | Sequence[int] | Sequence[float] | npt.NDArray[np.generic]
Table = Mapping[str, Column]

# Without a date in them, two runs write the same bytes.
FORMATS: dict[str, dict[str, str | None]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}


def save_figure(figure: Figure, path: Path, table: Table) -> tuple[Path, Path]:
    """Write a figure and, under the same name with `.csv`, the numbers it shows.

    Both are written in full beside their final names before either takes its name: a failed save
    leaves what was there.

    Args:
        figure: from one of this package's figure functions; the size on paper is the figure's own.
        path: the picture; its suffix says `.png`, `.pdf` or `.svg`.
        table: column name to equally long 1-D values; NaN becomes an empty cell, and floats are
            written with the digits that give the same number back.

    Returns:
        The two paths, picture first.

    Raises:
        PlotError: an unknown suffix, or columns that do not make a table.
        OSError: the files cannot be written; nothing of them is left.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise PlotError(
            f"{path}: a name ending in {', '.join(FORMATS)} expected, got {path.suffix!r}; "
            "the ending chooses the format"
        )
    rows = _rows(table)
    csv_path = path.with_suffix(".csv")
    for target in (path, csv_path):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    with _replacing(path) as picture, _replacing(csv_path) as numbers:
        with look():
            figure.savefig(picture, format=suffix[1:], metadata=FORMATS[suffix])
        with numbers.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(table)
            writer.writerows(rows)
    return path, csv_path


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


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a sibling to write to; it takes the name `path` only if the block succeeds."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
