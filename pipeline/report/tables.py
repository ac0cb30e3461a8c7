"""The tables of the commands: columns, rows of estimates, and formats to write them in.

A table has no format of its own: rows hold whatever is known, and columns pick from it. The
terminal's and Markdown are for readers, as `report/latex.py` is; CSV is for programs.
"""

import csv
import io
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from marr_pipeline.notebook import html_table
from marr_pipeline.progress import one_line
from marr_pipeline.report.metrics import Metrics

Notation = Literal["percent", "difference", "decimal", "correlation", "seconds", "count", "text"]
Interval = tuple[float, float]

NOTHING = "-"
SIGNIFICANT = 0.05
"""A difference whose corrected p lies below is marked."""
BETTER, WORSE, NOT_APART = "+", "-", "~"
"""After a number, as it stands to the reference's; the last where chance may have moved it."""

GAP = 2
"""Spaces between two columns of the terminal."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and how sure it is; None where something does not apply.

    Attributes:
        value: NaN where there is nothing to average.
        interval: of 95 %, on one cache.
        std: standard deviation over several caches.
        n: how many of them it is over; None where nobody asks.
        p: of its being 0.
        p_holm: the same, corrected for the number of tests.
        is_apart: whether it differs from the reference's by more than chance; None if that is not
            known.
    """

    value: float
    interval: Interval | None = None
    std: float | None = None
    n: int | None = None
    p: float | None = None
    p_holm: float | None = None
    is_apart: bool | None = None

    @property
    def exists(self) -> bool:
        """Whether there was something to average."""
        return not math.isnan(self.value)

    @property
    def is_significant(self) -> bool:
        """Whether it is marked."""
        return self.p_holm is not None and self.p_holm < SIGNIFICANT

    @property
    def is_beyond_chance(self) -> bool:
        """Whether a difference is: by its test, or where there is none by its interval."""
        if self.p_holm is not None or self.interval is None:
            return self.is_significant
        low, high = self.interval
        return low > 0 or high < 0


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
        seeds: caches that were asked for; a mean over fewer says over how many.
        goes_on: whether it belongs to the column before it, and stands beside that.
    """

    key: str
    heading: str
    notation: Notation = "percent"
    best: Literal["largest", "smallest"] | None = None
    has_interval: bool = False
    seeds: int = 0
    goes_on: bool = False

    @property
    def is_text(self) -> bool:
        """Whether its cells are words, which begin at the left."""
        return self.notation == "text"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows by name.

    Attributes:
        columns: from left to right.
        rows: cells of each row by key; what no column asks for is not shown, and a cell that is
            missing is a dash.
        caption: what the numbers are.
        label: by which a paper refers to it; of LaTeX alone.
        reference: the row to which others are better or worse, and marked so; empty for none.
    """

    columns: Sequence[Column]
    rows: Mapping[str, Mapping[str, Cell]]
    caption: str = ""
    label: str = ""
    reference: str = ""

    def html(self) -> str:
        """For a notebook."""
        return html_table(
            [(name, *self.texts(name)) for name in self.rows],
            headings=["", *(column.heading for column in self.columns)],
            caption=self.caption,
        )

    def texts(self, name: str) -> list[str]:
        """The cells of a row as they are written, with their marks."""
        return [
            cell_text(self.rows[name].get(column.key), column) + self.mark(name, column)
            for column in self.columns
        ]

    def mark(self, name: str, column: Column) -> str:
        """Whether a number reads better or worse than the reference's, or may be so by chance."""
        cell, usual = (self.rows.get(row, {}).get(column.key) for row in (name, self.reference))
        if column.best is None or column.notation == "difference":
            return ""
        if not isinstance(cell, Estimate) or not isinstance(usual, Estimate):
            return ""
        texts = {number_text(each.value, column.notation) for each in (cell, usual)}
        if len(texts) == 1 or not (cell.exists and usual.exists):
            return ""
        if cell.is_apart is False:
            return NOT_APART
        if cell.is_apart is None and self._is_tested(name):
            return ""
        return BETTER if (cell.value > usual.value) == (column.best == "largest") else WORSE

    def _is_tested(self, name: str) -> bool:
        """Whether marks of a row speak of chance; a number without a test then bears none."""
        cells = self.rows[name].values()
        return any(isinstance(cell, Estimate) and cell.is_apart is not None for cell in cells)

    @property
    def is_marked(self) -> bool:
        """Whether any of its numbers is."""
        return any(self.mark(name, column) for name in self.rows for column in self.columns)

    def best_rows(self, column: Column) -> frozenset[str]:
        """Rows whose value in a column reads like the best one; none where no value is best.

        A difference is best only where it reads as a gain.
        """
        values = {
            name: cell.value
            for name, cells in self.rows.items()
            if isinstance(cell := cells.get(column.key), Estimate) and cell.exists
        }
        if column.best is None or not values:
            return frozenset()
        choose = max if column.best == "largest" else min
        best = number_text(choose(values.values()), column.notation)
        if column.notation == "difference" and float(best) <= 0:
            return frozenset()
        return frozenset(
            name for name, value in values.items() if number_text(value, column.notation) == best
        )

    def emphasised(
        self, write: Callable[[str], str], bold: Callable[[str], str]
    ) -> Iterator[tuple[str, list[str]]]:
        """The name and the written cells of each row, the best of each column in bold."""
        best = [self.best_rows(column) for column in self.columns]
        for name in self.rows:
            cells = zip(map(write, self.texts(name)), best, strict=True)
            yield name, [bold(text) if name in rows else text for text, rows in cells]


def cell_text(cell: Cell | None, column: Column) -> str:
    """Value, interval or spread, and mark: `+1.5 [+0.9, +2.1]*`, `42.6 ± 0.3 (n=2)`."""
    if not isinstance(cell, Estimate):
        return NOTHING if cell is None else cell
    text = number_text(cell.value, column.notation)
    if not cell.exists:
        return text
    if cell.interval is not None and column.has_interval:
        low, high = (number_text(end, column.notation) for end in cell.interval)
        text += f" [{low}, {high}]"
    if cell.std or (cell.std is not None and column.notation != "count"):
        text += f" ± {number_text(cell.std, column.notation).removeprefix('+')}"
    if cell.n is not None and cell.n < column.seeds:
        text += f" (n={cell.n})"
    return f"{text}*" if cell.is_significant else text


def number_text(value: float, notation: Notation) -> str:
    """A value as it is written in a column; a dash where there is none, no minus before 0."""
    if math.isnan(value):
        return NOTHING
    match notation:
        case "percent":
            return f"{100 * value:.1f}"
        case "difference":
            return f"{100 * value:+z.1f}"
        case "decimal":
            return f"{value:.3f}"
        case "correlation":
            return f"{value:+z.2f}"
        case "seconds":
            return f"{value:.2f}"
        case "count":
            return f"{value:,.0f}"
        case "text":
            raise AssertionError("a number in a column of text")


def terminal_table(table: Table, *, min_width: int = 0, max_width: int | None = None) -> str:
    """Names to the left, values to the right, the caption below.

    Args:
        table: to be written.
        min_width: of every column but the first, its gap included.
        max_width: of a line; further columns stand below, beside the names once more. None sets
            them all side by side.
    """
    names = ["", *map(one_line, table.rows)]
    width = max(map(len, names))
    first = [name.ljust(width) for name in names]
    rows = [table.texts(name) for name in table.rows]
    blocks, lines, beside = [], first, first
    for place, column in enumerate(table.columns):
        cells = _aligned(column, tuple(row[place] for row in rows), min_width)
        beside = lines if not column.goes_on else beside
        lines = [line + cell for line, cell in zip(lines, cells, strict=True)]
        if max_width is not None and beside is not first and len(lines[0]) > max_width:
            blocks.append(beside)
            added = len(beside[0])
            lines = [head + line[added:] for head, line in zip(first, lines, strict=True)]
            beside = first
    text = "\n\n".join("\n".join(map(str.rstrip, block)) for block in [*blocks, lines])
    return "\n".join([text, *textwrap.wrap(table.caption, max(map(len, text.splitlines())))])


def _aligned(column: Column, texts: tuple[str, ...], min_width: int) -> list[str]:
    """Heading and cells of a column; marks hang over, so that numbers stand under numbers."""
    hang = max(map(_mark_width, texts))
    texts = tuple(text + " " * (hang - _mark_width(text)) for text in texts)
    cells = [column.heading + " " * hang, *texts]
    width = max(min_width, GAP + max(map(len, cells)))
    if column.is_text:
        return [" " * GAP + cell.ljust(width - GAP) for cell in cells]
    return [cell.rjust(width) for cell in cells]


def _mark_width(text: str) -> int:
    """Of the marks at the end of a cell, which are no cell of their own."""
    return 0 if text == NOTHING else len(text) - len(text.rstrip(f"*{BETTER}{WORSE}{NOT_APART}"))


def markdown_table(table: Table) -> str:
    """GitHub's Markdown: the best value of a column in bold, the caption below."""

    def line(texts: Iterable[str]) -> str:
        return f"| {' | '.join(texts)} |"

    def escaped(text: str) -> str:
        # A bare mark would set what follows it in italics.
        return text.replace("*", r"\*").replace("|", r"\|")

    lines = [
        line(["", *(column.heading for column in table.columns)]),
        line(["---", *(":---" if column.is_text else "---:" for column in table.columns)]),
        *(line([name, *cells]) for name, cells in table.emphasised(escaped, "**{}**".format)),
    ]
    return "\n".join([*lines, "", escaped(table.caption)] if table.caption else lines)


def csv_table(table: Table) -> str:
    """Comma-separated values, nothing rounded: one line a row, empty where there is no value.

    A column that has them is followed by `KEY_low` and `KEY_high` of its intervals, by `KEY_std`,
    `KEY_n` and `KEY_p_holm`.
    """
    head, columns = ["name"], [list[float | str](table.rows)]
    for column in table.columns:
        parts = [_csv_parts(cells.get(column.key), column) for cells in table.rows.values()]
        for suffix in dict.fromkeys(suffix for one in parts for suffix in one):
            head.append(column.key + suffix)
            columns.append([one.get(suffix, "") for one in parts])
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([head, *zip(*columns, strict=True)])
    return written.getvalue().removesuffix("\n")


def _csv_parts(cell: Cell | None, column: Column) -> dict[str, float | str]:
    """What a cell holds, by the end of its column's name."""
    if not isinstance(cell, Estimate):
        return {"": cell or ""}
    low, high = cell.interval or (None, None)
    is_whole = column.notation == "count" and cell.exists and float(cell.value).is_integer()
    value = int(cell.value) if is_whole else cell.value
    found = {"": value, "_low": low, "_high": high, "_std": cell.std, "_n": cell.n}
    found["_p_holm"] = cell.p_holm
    return {
        suffix: "" if math.isnan(value) else value
        for suffix, value in found.items()
        if value is not None
    }


METRIC_COLUMNS = (
    Column(key="overall", heading="overall", best="largest", has_interval=True),
    Column(key="balanced", heading="balanced", best="largest"),
    Column(key="many", heading="many", best="largest"),
    Column(key="medium", heading="medium", best="largest"),
    Column(key="few", heading="few", best="largest"),
    Column(key="macro_f1", heading="macro-F1", best="largest"),
    Column(key="worst_class", heading="worst", best="largest"),
    Column(key="nll", heading="NLL", notation="decimal", best="smallest"),
    Column(key="ece", heading="ECE", best="smallest"),
)
"""All but NLL are fractions, shown in per cent."""

HARMONIC = Column(key="harmonic_mean", heading="harmonic", best="largest")
COMPARED_METRICS = (*METRIC_COLUMNS[:6], HARMONIC, *METRIC_COLUMNS[6:])
GAINS = tuple(
    Column(key=key, heading=heading, notation="difference", best="largest", has_interval=True)
    for key, heading in (("vs_softmax", "vs softmax"), ("vs_logit_adjustment", "vs logit adj."))
)


def against(columns: Iterable[Column], reference: str) -> list[Column]:
    """The columns, gains over the softmax under the name that it has, as a plain probe's."""
    return [
        replace(column, heading=f"vs {reference}") if column.key == GAINS[0].key else column
        for column in columns
    ]


FACTS = (
    Column(key="margin_correlation", heading="rho margin", notation="correlation"),
    Column(key="logit_correlation", heading="rho logit", notation="correlation"),
    Column(key="parameters", heading="params", notation="count"),
    Column(key="seconds", heading="fit (s)", notation="seconds"),
    Column(key="status", heading="status", notation="text"),
)


def table_of_metrics(
    rows: Mapping[str, Metrics], caption: str = "", *, reference: str = ""
) -> Table:
    """One row a classifier; per cent but for NLL, a dash where there is nothing to average.

    Other rows are marked better or worse than the reference.
    """
    cells = {
        name: {key: Estimate(value=value) for key, value in metrics.summaries().items()}
        for name, metrics in rows.items()
    }
    return Table(columns=METRIC_COLUMNS, rows=cells, caption=caption, reference=reference)


def metrics_table(rows: Mapping[str, Metrics], *, reference: str = "") -> str:
    """`table_of_metrics` for a terminal."""
    table = table_of_metrics(rows, reference=reference)
    legend = f"{BETTER} better, {WORSE} worse than {reference}; compare says what is beyond chance."
    caption = legend if table.is_marked else ""
    return terminal_table(replace(table, caption=caption), min_width=10)
