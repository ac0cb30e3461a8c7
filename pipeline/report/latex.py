"""Tables for a paper: LaTeX with booktabs, and the names that methods have in print."""

import re
from collections.abc import Iterable

from marr_pipeline.report.tables import NOTHING, Table

PROPER_NAMES = {
    "softmax": "Softmax",
    "temperature": "Temperature scaling",
    "logit-adjustment": "Logit adjustment",
    "bias": "Bias",
    "bcts": "BCTS",
    "vector-scaling": "Vector scaling",
    "lws": "LWS",
    "tau-norm": r"$\tau$-norm",
    "marr": "MARR",
    "crt": "cRT",
    "balanced-softmax-head": "Balanced Softmax head",
    "head": "Head",
    "ncm": "NCM",
    "gda": "GDA",
    "disalign": "DisAlign",
    "tde": "TDE",
}
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{character: f"${character}$" for character in "<>|"},
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
SIGN = re.compile(r"(?<![\w:])[+-](?=\d)")
"""Of a number, which LaTeX sets in mathematics; the hyphen of a name is left alone."""


def proper_name(key: str) -> str:
    """In print, escaped: `marr:paper` is `MARR (paper)`; what names no method stays as it is."""
    method, _, preset = key.partition(":")
    if method not in PROPER_NAMES:
        return _latex(key)
    return PROPER_NAMES[method] + (f" ({_latex(preset)})" if preset else "")


def latex_table(table: Table) -> str:
    """A `table` environment for the package booktabs; the best value of a column in bold.

    A key of a method is written by its proper name.
    """

    def line(texts: Iterable[str]) -> str:
        return rf"{' & '.join(texts)} \\"

    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{_latex(table.caption)}}}"] if table.caption else []),
        *([rf"\label{{{table.label}}}"] if table.label else []),
        rf"\begin{{tabular}}{{l{''.join('l' if each.is_text else 'r' for each in table.columns)}}}",
        r"\toprule",
        line(["", *(_latex(column.heading) for column in table.columns)]),
        r"\midrule",
    ]
    for name, cells in table.emphasised(_latex_cell, r"\textbf{{{}}}".format):
        lines.append(line([proper_name(name), *cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _latex_cell(text: str) -> str:
    if text == NOTHING:
        return "--"
    marked = SIGN.sub(lambda sign: f"${sign[0]}$", _latex(text))
    return f"{marked.removesuffix('*')}$^*$" if marked.endswith("*") else marked


def _latex(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)
