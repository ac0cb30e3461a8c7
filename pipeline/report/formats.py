"""The tables of the commands, in three formats for readers and one for programs."""

import csv
import io
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from marr_pipeline.report.metrics import Metrics
from marr_pipeline.report.table import NOTHING, Cell, Column, Estimate, Table

METRIC_COLUMNS = (
    Column(key="overall", heading="overall", best="largest", has_interval=True),
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
COMPARED_METRICS = (*METRIC_COLUMNS[:5], HARMONIC, *METRIC_COLUMNS[5:])
GAINS = tuple(
    Column(key=key, heading=heading, notation="difference", best="largest", has_interval=True)
    for key, heading in (("vs_softmax", "vs softmax"), ("vs_logit_adjustment", "vs logit adj."))
)
FACTS = (
    Column(key="margin_correlation", heading="rho margin", notation="correlation"),
    Column(key="logit_correlation", heading="rho logit", notation="correlation"),
    Column(key="parameters", heading="params", notation="count"),
    Column(key="seconds", heading="fit (s)", notation="seconds"),
    Column(key="status", heading="status", notation="text"),
)

GAP = 2
"""Spaces between two columns of the terminal."""

LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": "$<$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
SIGN = re.compile(r"(?<![\w:])[+-](?=\d)")
"""Of a number, which LaTeX sets in mathematics; the hyphen of a name is left alone."""


def terminal_table(table: Table, *, min_width: int = 0) -> str:
    """Names to the left, values to the right, the caption below.

    Args:
        table: to be written.
        min_width: of every column but the first, its gap included.
    """
    width = max(map(len, table.rows))
    lines = [" " * width, *(name.ljust(width) for name in table.rows)]
    rows = [table.texts(name) for name in table.rows]
    for column, texts in zip(table.columns, zip(*rows, strict=True), strict=True):
        cells = _aligned(column.heading, texts, min_width)
        lines = [line + cell for line, cell in zip(lines, cells, strict=True)]
    lines = [line.rstrip() for line in lines]
    return "\n".join([*lines, *textwrap.wrap(table.caption, max(map(len, lines)))])


def _aligned(heading: str, texts: tuple[str, ...], min_width: int) -> list[str]:
    """Heading and cells of a column; marks hang over, so that numbers stand under numbers."""
    if any(text.endswith("*") for text in texts):
        texts = tuple(text if text.endswith("*") else f"{text} " for text in texts)
        heading += " "
    cells = [heading, *texts]
    width = max(min_width, GAP + max(map(len, cells)))
    return [cell.rjust(width) for cell in cells]


def markdown_table(table: Table) -> str:
    """GitHub's Markdown: the best value of a column in bold, the caption below."""

    def line(texts: Iterable[str]) -> str:
        return f"| {' | '.join(texts)} |"

    def escaped(text: str) -> str:
        # A bare mark would set what follows it in italics.
        return text.replace("*", r"\*").replace("|", r"\|")

    best = [table.best_rows(column) for column in table.columns]
    lines = [
        line(["", *(column.heading for column in table.columns)]),
        line(["---", *("---:" for _ in table.columns)]),
    ]
    for name in table.rows:
        cells = zip(map(escaped, table.texts(name)), best, strict=True)
        lines.append(
            line([name, *(f"**{text}**" if name in rows else text for text, rows in cells)])
        )
    return "\n".join([*lines, "", escaped(table.caption)] if table.caption else lines)


def latex_table(table: Table) -> str:
    """A `table` environment for the package booktabs; the best value of a column in bold."""

    def line(texts: Iterable[str]) -> str:
        return rf"{' & '.join(texts)} \\"

    best = [table.best_rows(column) for column in table.columns]
    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{_latex(table.caption)}}}"] if table.caption else []),
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        line(["", *(_latex(column.heading) for column in table.columns)]),
        r"\midrule",
    ]
    for name in table.rows:
        cells = zip(map(_latex_cell, table.texts(name)), best, strict=True)
        texts = (rf"\textbf{{{text}}}" if name in rows else text for text, rows in cells)
        lines.append(line([_latex(name), *texts]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _latex_cell(text: str) -> str:
    if text == NOTHING:
        return "--"
    marked = SIGN.sub(lambda sign: f"${sign[0]}$", _latex(text))
    return f"{marked.removesuffix('*')}$^*$" if marked.endswith("*") else marked


def _latex(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)


def csv_table(table: Table) -> str:
    """Comma-separated values, nothing rounded: one line a row, empty where there is no value.

    A column that has them is followed by `KEY_low` and `KEY_high` of its intervals, by `KEY_std`
    and by `KEY_p_holm`.
    """
    head, columns = ["name"], [list[float | str](table.rows)]
    for column in table.columns:
        parts = [_csv_parts(cells.get(column.key)) for cells in table.rows.values()]
        for suffix in dict.fromkeys(suffix for one in parts for suffix in one):
            head.append(column.key + suffix)
            columns.append([one.get(suffix, "") for one in parts])
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([head, *zip(*columns, strict=True)])
    return written.getvalue().removesuffix("\n")


def _csv_parts(cell: Cell | None) -> dict[str, float | str]:
    """What a cell holds, by the end of its column's name."""
    if not isinstance(cell, Estimate):
        return {"": cell or ""}
    low, high = cell.interval or (None, None)
    found = {"": cell.value, "_low": low, "_high": high, "_std": cell.std, "_p_holm": cell.p_holm}
    return {
        suffix: "" if math.isnan(value) else value
        for suffix, value in found.items()
        if value is not None
    }


FORMATS: dict[str, Callable[[Table], str]] = {
    "terminal": terminal_table,
    "markdown": markdown_table,
    "latex": latex_table,
    "csv": csv_table,
}


def metrics_table(rows: Mapping[str, Metrics]) -> str:
    """One line a classifier; per cent but for NLL, a dash where there is nothing to average."""
    cells = {
        name: {key: Estimate(value=value) for key, value in metrics.summaries().items()}
        for name, metrics in rows.items()
    }
    return terminal_table(Table(columns=METRIC_COLUMNS, rows=cells), min_width=10)


def comparison_text(
    rows: Mapping[str, Mapping[str, Cell]], *, captions: tuple[str, str], table_format: str
) -> str:
    """The tables of `compare`: what every method is worth, and what it gains at what cost.

    Args:
        rows: of each method, by key.
        captions: of the two tables; programs get both as one without.
        table_format: of `FORMATS`.
    """
    metrics = Table(columns=COMPARED_METRICS, rows=rows, caption=captions[0])
    gains = Table(columns=(*GAINS, *FACTS), rows=rows, caption=captions[1])
    if table_format == "csv":
        both = replace(metrics, columns=(*metrics.columns, *gains.columns))
        return FORMATS["csv"](both)
    return "\n\n".join(FORMATS[table_format](table) for table in (metrics, gains))
