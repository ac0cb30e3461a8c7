"""Tables for the terminal."""

import textwrap

from marr_pipeline.report.tables.table import Table

GAP = 2


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
