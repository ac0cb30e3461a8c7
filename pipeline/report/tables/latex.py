"""Tables in LaTeX, for the package booktabs."""

import re
from collections.abc import Iterable

from marr_pipeline.report.tables.table import NOTHING, Table

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": "$<$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
SIGN = re.compile(r"(?<![\w:])[+-](?=\d)")
"""Of a number, which is set in mathematics; the hyphen of a name is left alone."""


def latex_table(table: Table) -> str:
    """A `table` environment; the best value of a column in bold."""
    best = [table.best_rows(index) for index in range(len(table.columns))]
    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{_escaped(table.caption)}}}"] if table.caption else []),
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        _line(["", *(_escaped(column.heading) for column in table.columns)]),
        r"\midrule",
    ]
    for name in table.rows:
        cells = zip(map(_cell, table.texts(name)), best, strict=True)
        texts = (rf"\textbf{{{text}}}" if name in rows else text for text, rows in cells)
        lines.append(_line([_escaped(name), *texts]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _cell(text: str) -> str:
    if text == NOTHING:
        return "--"
    marked = SIGN.sub(lambda sign: f"${sign[0]}$", _escaped(text))
    return f"{marked.removesuffix('*')}$^*$" if marked.endswith("*") else marked


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in text)


def _line(texts: Iterable[str]) -> str:
    return rf"{' & '.join(texts)} \\"
