"""A table before it has a format: columns, and for every row a cell in each of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from marr_pipeline.report.estimate import Estimate

Notation = Literal["percent", "difference", "decimal", "correlation", "seconds", "count", "text"]
Cell = Estimate | str | None

NOTHING = "-"


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a column holds and how its numbers are written.

    Attributes:
        key: name for programs, `overall`.
        heading: name for readers.
        notation: `percent` and `difference` (with its sign) write fractions in per cent.
        best: which of its values is the best, if one is.
    """

    key: str
    heading: str
    notation: Notation = "percent"
    best: Literal["largest", "smallest"] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows by name, each with one cell a column.

    Attributes:
        columns: from left to right.
        rows: cells of each row; None where there is nothing to say.
        caption: what the numbers are.
    """

    columns: Sequence[Column]
    rows: Mapping[str, Sequence[Cell]]
    caption: str = ""

    def texts(self, name: str) -> list[str]:
        """The cells of a row as they are written."""
        return [
            cell_text(cell, column)
            for cell, column in zip(self.rows[name], self.columns, strict=True)
        ]

    def best_rows(self, index: int) -> frozenset[str]:
        """Rows whose value in a column reads like the best one; none where no value is best."""
        column = self.columns[index]
        values = {
            name: cell.value
            for name, cells in self.rows.items()
            if isinstance(cell := cells[index], Estimate) and cell.exists
        }
        if column.best is None or not values:
            return frozenset()
        choose = max if column.best == "largest" else min
        best = number_text(choose(values.values()), column.notation)
        return frozenset(
            name for name, value in values.items() if number_text(value, column.notation) == best
        )


def cell_text(cell: Cell, column: Column) -> str:
    """Value, interval or spread, and mark: `+1.5 [+0.9, +2.1]*`, `42.6 ± 0.3`."""
    if not isinstance(cell, Estimate):
        return NOTHING if cell is None else cell
    text = number_text(cell.value, column.notation)
    if not cell.exists:
        return text
    if cell.interval is not None:
        low, high = (number_text(end, column.notation) for end in cell.interval)
        text += f" [{low}, {high}]"
    if cell.std:
        text += f" ± {number_text(cell.std, column.notation).removeprefix('+')}"
    return f"{text}*" if cell.is_significant else text


def number_text(value: float, notation: Notation) -> str:
    """A value as it is written in a column; a dash where there is none."""
    if math.isnan(value):
        return NOTHING
    match notation:
        case "percent":
            return f"{100 * value:.1f}"
        case "difference":
            return f"{100 * value:+.1f}"
        case "decimal":
            return f"{value:.3f}"
        case "correlation":
            return f"{value:+.2f}"
        case "seconds":
            return f"{value:.2f}"
        case "count":
            return f"{value:,.0f}"
        case "text":
            raise AssertionError("a number in a column of text")
