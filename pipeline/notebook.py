"""How a result shows itself in a notebook: one small table of HTML that needs nothing beside it."""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = "text-align: {}; padding: 0.2em 0.7em; font-variant-numeric: tabular-nums"


def html_table(
    rows: Iterable[Sequence[object]], *, headings: Sequence[str] = (), caption: str = ""
) -> str:
    """A table of texts, all of them escaped.

    Args:
        rows: the first cell of each is its name.
        headings: over the columns; empty for none.
        caption: above it; its lines stay lines.
    """
    head = f"<thead>{_row(headings, 'th')}</thead>" if headings else ""
    body = "".join(_row(row, "td") for row in rows)
    above = escape(caption).replace("\n", "<br>")
    return (
        f'<table><caption style="text-align: left">{above}</caption>'
        f"{head}<tbody>{body}</tbody></table>"
    )


def _row(cells: Sequence[object], tag: str) -> str:
    tags = ("th", *[tag] * (len(cells) - 1))
    sides = ("left", *["right"] * (len(cells) - 1))
    texts = [
        f'<{each} style="{STYLE.format(side)}">{escape(str(cell))}</{each}>'
        for each, side, cell in zip(tags, sides, cells, strict=True)
    ]
    return f"<tr>{''.join(texts)}</tr>"
