"""Tables as `.csv`: comma-separated UTF-8 text with a header row."""

import csv
from array import array
from pathlib import Path

import numpy as np

from marr_pipeline.reading import is_number, reading
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
    values, labels, ids = array("f"), list[str](), list[str]()  # of the last rows
    spools, num_rows = (Spool(), Spool(), Spool()), 0  # of those before; of all

    def put_away() -> None:
        for spool, block in zip(spools, _as_arrays(values, labels, ids), strict=True):
            spool.add(block)
        del values[:], labels[:], ids[:]

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
                labels.append(cells[label].strip())
                lines_of.setdefault(is_number(labels[-1]), lines.line_num)
                if not labels[-1]:
                    raise ValueError(f"'' in line {lines.line_num}, column {columns[label]!r}")
            if sample is not None:
                ids.append(cells[sample].strip())
            try:
                values.extend([float(cells[place]) for place in places])
            except ValueError:
                place = next(place for place in places if not is_number(cells[place]))
                if is_other(columns[place]):
                    raise other_columns([columns[place]], holds=holds, where=str(path)) from None
                line = f"line {lines.line_num}, column {columns[place]!r}"
                raise ValueError(f"{cells[place]!r} in {line}") from None
            num_rows += 1
            if num_rows % _BLOCK_ROWS == 0:
                put_away()
        if not num_rows:
            raise ValueError("no row below the header")
        if num_rows % _BLOCK_ROWS:
            put_away()
        numbers, said, told = (spool.array() for spool in spools)
        if len(lines_of) == 2 and not set(np.unique(said).tolist()) <= set(columns):
            got = next(each for each in said.tolist() if not is_number(each))
            raise ValueError(f"{got!r} beside labels that are numbers in line {lines_of[False]}")
    return Cells(
        columns=found,
        numbers=numbers.reshape(num_rows, len(places)),
        labels=None if label is None else said if False in lines_of else said.astype(float),
        ids=None if sample is None else told,
    )


def _as_arrays(values: "array[float]", labels: list[str], ids: list[str]) -> tuple[Array, ...]:
    """Some cells as arrays; ids are numbers if every one is exact as one."""
    is_exact = all(map(_is_exact, ids))
    # Text of numbers that are exact is the same again, if later ids are none.
    numbered = np.array([int(each) for each in ids] if is_exact else ids)
    return np.array(values), np.array(labels, str), numbered


def _is_exact(text: str) -> bool:
    """Whether it is an int64 as Python writes it, so that nothing is lost: not 007."""
    return text.lstrip("-").isdecimal() and len(text) < 19 and str(int(text)) == text
