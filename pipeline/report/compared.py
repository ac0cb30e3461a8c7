"""The tables of `compare`: which columns, with or without intervals, in which format."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from marr_pipeline.errors import ConfigError
from marr_pipeline.report.latex import latex_table
from marr_pipeline.report.tables import (
    COMPARED_METRICS,
    FACTS,
    GAINS,
    Cell,
    Column,
    Estimate,
    Table,
    against,
    csv_table,
    markdown_table,
    terminal_table,
)

FORMATS: dict[str, Callable[[Table], str]] = {
    "terminal": terminal_table,
    "markdown": markdown_table,
    "latex": latex_table,
    "csv": csv_table,
}
COLUMNS = {column.key: column for column in (*COMPARED_METRICS, *GAINS, *FACTS)}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the tables show.

    Attributes:
        columns: keys of `COLUMNS` for one table of them; None for two of all: what every method
            is worth, and what it gains at what cost. Programs get both as one.
        has_intervals: whether numbers have their intervals or spreads; None for spreads, and
            intervals of overall accuracy and gains alone.
        caption: in place of what the numbers are; of one table.
        label: by which LaTeX refers to it; of one table.

    Raises:
        ConfigError: no such column, a caption or label of two tables, or a label that LaTeX
            cannot read.
    """

    columns: tuple[str, ...] | None = None
    has_intervals: bool | None = None
    caption: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        unknown = [key for key in self.columns or () if key not in COLUMNS]
        if unknown:
            raise ConfigError(f"columns: some of {', '.join(COLUMNS)} expected, got {unknown[0]}")
        if self.columns is None and (self.caption or self.label):
            raise ConfigError(
                f"{'caption' if self.caption else 'label'}: of one table expected, got two tables; "
                "choose the columns of one, such as overall,few,nll"
            )
        if self.label and not re.fullmatch(r"[\w:./+-]+", self.label, re.ASCII):
            raise ConfigError(f"label: a name such as tab:methods expected, got {self.label!r}")


EVERYTHING = Layout()


PRESETS = (
    "A name alone is this program's default, :paper the published objective, :official the "
    "released code's recipe."
)


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What a caption says of its table, each where it is first needed.

    Attributes:
        rows: which samples were scored.
        spread: what intervals or standard deviations are of.
        gains: what differences are, and their marks.
        correlations: what is correlated.
        marks: what is better or worse than what.
        presets: which of a method's rows is the paper's.
    """

    rows: str = ""
    spread: str = ""
    gains: str = ""
    correlations: str = ""
    marks: str = ""
    presets: str = PRESETS

    def needed(self, table: Table) -> list[str]:
        """Those that explain something in the table."""
        cells = "".join(text for name in table.rows for text in table.texts(name))
        notations = {column.notation for column in table.columns}
        is_needed = {
            self.rows: True,
            self.spread: "[" in cells or "±" in cells,
            self.gains: "difference" in notations,
            self.correlations: "correlation" in notations,
            self.marks: table.is_marked,
            self.presets: any(name.endswith((":paper", ":official")) for name in table.rows),
        }
        return [note for note, needed in is_needed.items() if note and needed]


def comparison_text(
    rows: Mapping[str, Mapping[str, Cell]],
    *,
    table_format: str,
    notes: Notes = Notes(),
    reference: str = "",
    layout: Layout = EVERYTHING,
) -> str:
    """The tables of `compare`.

    Args:
        rows: of each method, by key.
        table_format: of `FORMATS`.
        notes: for the captions of those that are for readers.
        reference: the row that others are better or worse than; LaTeX has no marks.
        layout: what they show.
    """
    parts: Sequence[Sequence[Column]] = (COMPARED_METRICS, (*GAINS, *FACTS))
    if layout.columns is not None:
        parts = [[COLUMNS[key] for key in layout.columns]]
    elif table_format == "csv":
        parts = [list(COLUMNS.values())]
    if reference:
        parts = [against(columns, reference) for columns in parts]
    if layout.has_intervals is not None:
        parts = [
            [replace(column, has_interval=layout.has_intervals) for column in columns]
            for columns in parts
        ]
    if layout.has_intervals is False:
        rows = {
            key: {name: _alone(cell) for name, cell in cells.items()} for key, cells in rows.items()
        }
    texts, told = [], set[str]()
    for columns in parts:
        table = Table(
            columns=columns,
            rows=rows,
            label=layout.label,
            reference="" if table_format == "latex" else reference,
        )
        new = [note for note in notes.needed(table) if note not in told]
        told.update(new)
        texts.append(FORMATS[table_format](replace(table, caption=layout.caption or " ".join(new))))
    return "\n\n".join(texts)


def _alone(cell: Cell) -> Cell:
    """A number without its interval or spread."""
    return replace(cell, interval=None, std=None) if isinstance(cell, Estimate) else cell
