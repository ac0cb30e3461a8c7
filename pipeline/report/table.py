"""A table before it has a format: columns, and rows of estimates from which they pick."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Notation = Literal["percent", "difference", "decimal", "correlation", "seconds", "count", "text"]
Interval = tuple[float, float]

NOTHING = "-"
SIGNIFICANT = 0.05
"""A difference whose corrected p lies below is marked."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and how sure it is; None where something does not apply.

    Attributes:
        value: NaN where there is nothing to average.
        interval: of 95 %, on one cache.
        std: standard deviation over several caches.
        p: of its being 0.
        p_holm: the same, corrected for the number of tests.
    """

    value: float
    interval: Interval | None = None
    std: float | None = None
    p: float | None = None
    p_holm: float | None = None

    @property
    def exists(self) -> bool:
        """Whether there was something to average."""
        return not math.isnan(self.value)

    @property
    def is_significant(self) -> bool:
        """Whether it is marked."""
        return self.p_holm is not None and self.p_holm < SIGNIFICANT


Cell = Estimate | str


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a column holds and how its numbers are written.

    Attributes:
        key: name for programs, `overall`.
        heading: name for readers.
        notation: `percent` and `difference` (with its sign) write fractions in per cent.
        best: which of its values is the best, if one is.
        has_interval: whether readers are shown its intervals; programs get them all.
    """

    key: str
    heading: str
    notation: Notation = "percent"
    best: Literal["largest", "smallest"] | None = None
    has_interval: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows by name.

    Attributes:
        columns: from left to right.
        rows: cells of each row by key; what no column asks for is not shown, and a cell that is
            missing is a dash.
        caption: what the numbers are.
    """

    columns: Sequence[Column]
    rows: Mapping[str, Mapping[str, Cell]]
    caption: str = ""

    def texts(self, name: str) -> list[str]:
        """The cells of a row as they are written."""
        return [cell_text(self.rows[name].get(column.key), column) for column in self.columns]

    def best_rows(self, column: Column) -> frozenset[str]:
        """Rows whose value in a column reads like the best one; none where no value is best."""
        values = {
            name: cell.value
            for name, cells in self.rows.items()
            if isinstance(cell := cells.get(column.key), Estimate) and cell.exists
        }
        if column.best is None or not values:
            return frozenset()
        choose = max if column.best == "largest" else min
        best = number_text(choose(values.values()), column.notation)
        return frozenset(
            name for name, value in values.items() if number_text(value, column.notation) == best
        )


def cell_text(cell: Cell | None, column: Column) -> str:
    """Value, interval or spread, and mark: `+1.5 [+0.9, +2.1]*`, `42.6 ± 0.3`."""
    if not isinstance(cell, Estimate):
        return NOTHING if cell is None else cell
    text = number_text(cell.value, column.notation)
    if not cell.exists:
        return text
    if cell.interval is not None and column.has_interval:
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
