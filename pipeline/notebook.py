"""How a result shows itself: in a notebook as one small table of HTML that needs nothing beside it,
elsewhere as a line.
"""

from collections.abc import Iterable, Sequence, Sized
from dataclasses import Field
from html import escape
from pathlib import Path
from typing import Any, ClassVar, Protocol

SHORT = (str, int, float, bool, Path, type(None))


class _Record(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def short_repr(record: _Record) -> str:
    """The `__repr__` of a dataclass whose fields are large: numbers and words, of others the kind.

    Fields that are None or empty are left out.
    """
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    told = [f"{name}={_short(value)}" for name, value in fields.items() if not _is_nothing(value)]
    return f"{type(record).__name__}({', '.join(told)})"


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, Sized) and len(value) == 0)


def _short(value: object) -> str:
    if isinstance(value, SHORT):
        return repr(str(value) if isinstance(value, str | Path) else value)
    shape, kind = getattr(value, "shape", None), type(value).__name__
    if shape is not None:
        return f"{kind}{tuple(shape)}"
    return f"<{kind} of {len(value)}>" if isinstance(value, Sized) else f"<{kind}>"


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
