"""Tables as `.csv`: comma-separated UTF-8 text with a header row."""

import csv
from array import array
from pathlib import Path

import numpy as np

from marr_pipeline.errors import DataError, first_line
from marr_pipeline.workflows.arrays.columns import (
    ADVICE,
    Cells,
    Holds,
    find_columns,
    is_other,
    other_columns,
)


def read_csv(path: Path, *, holds: Holds, is_labelled: bool) -> Cells:
    """The cells of a `.csv`, its numbers as float32.

    Raises:
        DataError: no such table, an empty cell, or one that is not of its column's kind.
    """

    def unlike(found: str) -> DataError:
        expected = "a table of comma-separated UTF-8 text expected"
        return DataError(f"{path}: {expected}, got {found}; {ADVICE[holds]}")

    values = array("f")
    ids: list[str] = []
    labels: list[str] = []
    lines_of: dict[bool, int] = {}  # the first line whose label is a number, or is none
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            columns = [name.strip() for name in next(lines, [])]
            found = find_columns(columns, holds=holds, is_labelled=is_labelled, where=str(path))
            label, sample, places = found.label, found.sample, found.numbers
            for cells in filter(None, lines):
                if len(cells) != len(columns):
                    line = f"line {lines.line_num} under {len(columns)} names"
                    raise unlike(f"{len(cells)} columns in {line}")
                if label is not None:
                    labels.append(cells[label].strip())
                    lines_of.setdefault(_is_number(labels[-1]), lines.line_num)
                    if not labels[-1]:
                        raise unlike(f"'' in line {lines.line_num}, column {columns[label]!r}")
                if sample is not None:
                    ids.append(cells[sample].strip())
                try:
                    values.extend([float(cells[place]) for place in places])
                except ValueError:
                    place = next(place for place in places if not _is_number(cells[place]))
                    if is_other(columns[place]):
                        raise other_columns(
                            [columns[place]], holds=holds, where=str(path)
                        ) from None
                    line = f"line {lines.line_num}, column {columns[place]!r}"
                    raise unlike(f"{cells[place]!r} in {line}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unlike(first_line(error)) from error
    num_rows = len(values) // max(len(places), 1) or len(labels)
    if not num_rows:
        raise DataError(f"{path}: at least one row below the header expected, got none; add rows")
    if len(lines_of) == 2 and not set(labels) <= set(columns):
        got = next(each for each in labels if not _is_number(each))
        raise unlike(f"{got!r} beside labels that are numbers in line {lines_of[False]}")
    is_text = False in lines_of
    is_exact = all(map(_is_exact, ids))
    return Cells(
        columns=found,
        numbers=np.frombuffer(values, dtype=np.float32).reshape(num_rows, len(places)),
        labels=None if label is None else np.array(labels, str if is_text else float),
        ids=None if sample is None else np.array([int(i) for i in ids] if is_exact else ids),
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_exact(text: str) -> bool:
    """Whether it is an int64 as Python writes it, so that nothing is lost: not 007."""
    return text.lstrip("-").isdecimal() and len(text) < 19 and str(int(text)) == text
