"""Tables as `.csv`: comma-separated UTF-8 text with a header row."""

import csv
from array import array
from pathlib import Path

import numpy as np

from marr_pipeline.reading import reading
from marr_pipeline.workflows.arrays.columns import (
    ADVICE,
    Array,
    Cells,
    Holds,
    find_columns,
    is_other,
    other_columns,
)
from marr_pipeline.workflows.arrays.spool import Spool

_BLOCK_ROWS = 2**16
"""Rows that are kept as Python's own numbers and text before they become an array."""


def read_csv(path: Path, *, holds: Holds, is_labelled: bool) -> Cells:
    """The cells of a `.csv`, its numbers as float32.

    Raises:
        DataError: no such table, an empty cell, or one that is not of its column's kind.
    """
    kept = _Kept()
    lines_of: dict[bool, int] = {}  # the first line whose label is a number, or is none
    with (
        reading(path, "a table of comma-separated UTF-8 text", ADVICE[holds]),
        path.open(encoding="utf-8-sig", newline="") as file,
    ):
        lines = csv.reader(file)
        columns = [name.strip() for name in next(lines, [])]
        found = find_columns(columns, holds=holds, is_labelled=is_labelled, where=str(path))
        label, sample, places = found.label, found.sample, found.numbers
        for cells in filter(None, lines):
            if len(cells) != len(columns):
                line = f"line {lines.line_num} under {len(columns)} names"
                raise ValueError(f"{len(cells)} columns in {line}")
            if label is not None:
                kept.labels.append(cells[label].strip())
                lines_of.setdefault(_is_number(kept.labels[-1]), lines.line_num)
                if not kept.labels[-1]:
                    raise ValueError(f"'' in line {lines.line_num}, column {columns[label]!r}")
            if sample is not None:
                kept.ids.append(cells[sample].strip())
            try:
                kept.values.extend([float(cells[place]) for place in places])
            except ValueError:
                place = next(place for place in places if not _is_number(cells[place]))
                if is_other(columns[place]):
                    raise other_columns([columns[place]], holds=holds, where=str(path)) from None
                line = f"line {lines.line_num}, column {columns[place]!r}"
                raise ValueError(f"{cells[place]!r} in {line}") from None
            kept.end_row()
        if not kept.num_rows:
            raise ValueError("no row below the header")
        numbers, labels, ids = kept.arrays()
        if len(lines_of) == 2 and not set(np.unique(labels).tolist()) <= set(columns):
            got = next(each for each in labels.tolist() if not _is_number(each))
            raise ValueError(f"{got!r} beside labels that are numbers in line {lines_of[False]}")
    return Cells(
        columns=found,
        numbers=numbers.reshape(kept.num_rows, len(places)),
        labels=None if label is None else labels if False in lines_of else labels.astype(float),
        ids=None if sample is None else ids,
    )


class _Kept:
    """The cells of the rows that were read: of the last ones in lists, of those before in arrays.

    Attributes:
        values: numbers, row after row.
        labels: as they are written.
        ids: likewise.
        num_rows: in all.
    """

    def __init__(self) -> None:
        self.values, self.labels, self.ids = array("f"), list[str](), list[str]()
        self.num_rows = 0
        self._spools = Spool(), Spool(), Spool()

    def end_row(self) -> None:
        """Count a row whose cells are in the lists."""
        self.num_rows += 1
        if self.num_rows % _BLOCK_ROWS == 0:
            self._flush()

    def arrays(self) -> tuple[Array, Array, Array]:
        """All numbers float32, labels and ids; ids are numbers if every one is exact as one."""
        if self.num_rows % _BLOCK_ROWS:
            self._flush()
        numbers, labels, ids = (spool.array() for spool in self._spools)
        return numbers, labels, ids

    def _flush(self) -> None:
        is_exact = all(map(_is_exact, self.ids))
        blocks = (
            np.array(self.values),
            np.array(self.labels, str),
            # Text of numbers that are exact is the same again, if later ids are none.
            np.array([int(each) for each in self.ids] if is_exact else self.ids),
        )
        for spool, block in zip(self._spools, blocks, strict=True):
            spool.add(block)
        self.values, self.labels, self.ids = array("f"), [], []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_exact(text: str) -> bool:
    """Whether it is an int64 as Python writes it, so that nothing is lost: not 007."""
    return text.lstrip("-").isdecimal() and len(text) < 19 and str(int(text)) == text
