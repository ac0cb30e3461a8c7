"""Tables in GitHub's Markdown."""

from collections.abc import Iterable

from marr_pipeline.report.tables.table import Table


def markdown_table(table: Table) -> str:
    """The best value of a column in bold, the caption below."""
    best = [table.best_rows(index) for index in range(len(table.columns))]
    lines = [
        _line(["", *(column.heading for column in table.columns)]),
        _line(["---", *("---:" for _ in table.columns)]),
    ]
    for name in table.rows:
        texts = map(_escaped, table.texts(name))
        cells = zip(texts, best, strict=True)
        lines.append(
            _line([name, *(f"**{text}**" if name in rows else text for text, rows in cells)])
        )
    return "\n".join([*lines, "", _escaped(table.caption)] if table.caption else lines)


def _escaped(text: str) -> str:
    """A bare mark would set what follows it in italics."""
    return text.replace("*", r"\*").replace("|", r"\|")


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"
