"""Logits in a table of text: one row a sample, a header that names the columns.

    id,label,cat,dog,owl
    img_1.png,0,3.25,-1.5,0.75

`label` is the class id, `id` may be left out, and every other column holds the logits of one
class, in class order. Their names become the class names, unless they only count: `0`, `1`, ... or
`logit_0`, `logit_1`, ...
"""

import csv
import re
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError, first_line

_LABEL, _ID = "label", "id"
_COUNTING = re.compile(r"(?:logits?|class)?[ _.]?(\d+)", re.IGNORECASE)
_SHOWN_COLUMNS = 6
_ADVICE = "write a column 'label', if wanted 'id', and one of logits for each class, in class order"


def read_csv(path: Path) -> dict[str, npt.NDArray[Any]]:
    """`labels` (N,), `logits` (N, K) float32 and, if there, `ids` and `class_names`.

    Raises:
        DataError: no such header, or a cell that is no number; it names line and column.
    """

    def unlike(found: str) -> DataError:
        expected = "a table of comma-separated UTF-8 text expected"
        return DataError(f"{path}: {expected}, got {found}; {_ADVICE}")

    values, ids = array("f"), []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            columns = [name.strip() for name in next(lines, [])]
            classes, class_names = _columns_of_logits(columns, where=str(path))
            for cells in filter(None, lines):
                if len(cells) != len(columns):
                    line = f"line {lines.line_num} under {len(columns)} names"
                    raise unlike(f"{len(cells)} columns in {line}")
                if _ID in columns:
                    place = columns.index(_ID)
                    ids.append(cells[place].strip())
                    cells[place] = "0"
                try:
                    values.extend(map(float, cells))
                except ValueError:
                    place = len(values) % len(columns)
                    line = f"line {lines.line_num}, column {columns[place]!r}"
                    raise unlike(f"{cells[place]!r} in {line}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unlike(first_line(error)) from error
    if not values:
        raise DataError(f"{path}: at least one row below the header expected, got none; add rows")
    numbers = np.frombuffer(values, dtype=np.float32).reshape(-1, len(columns))
    labels = numbers[:, columns.index(_LABEL)]
    is_whole = np.isfinite(labels) & (labels == np.round(labels))
    arrays = {
        # Others are refused as they are, like those of any other file.
        "labels": labels.astype(np.int64) if is_whole.all() else labels,
        "logits": numbers[:, classes],
    }
    if ids:
        arrays["ids"] = np.array([int(i) for i in ids] if all(map(_is_whole, ids)) else ids)
    if class_names is not None:
        arrays["class_names"] = np.array(class_names)
    return arrays


def _columns_of_logits(columns: list[str], *, where: str) -> tuple[list[int], list[str] | None]:
    """Their places, and their names unless they only count, and in the right order.

    Raises:
        DataError: no header of this kind, or columns that count in another order.
    """
    if columns.count(_LABEL) != 1 or len(set(columns)) < len(columns):
        more = ", ..." if len(columns) > _SHOWN_COLUMNS else ""
        shown = ", ".join(columns[:_SHOWN_COLUMNS]) + more
        raise DataError(
            f"{where}: a header row with one column 'label' and a name of its own for each other "
            f"column expected, got {shown or 'nothing'}; {_ADVICE}"
        )
    places = [place for place, name in enumerate(columns) if name not in (_LABEL, _ID)]
    names = [columns[place] for place in places]
    matches = [_COUNTING.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match is not None]
    if not names or len(numbers) < len(names):
        return places, names
    for place, number in enumerate(numbers, start=min(numbers[0], 1)):
        if number != place:
            raise DataError(
                f"{where}: columns of logits in class order expected, got column {number} where "
                f"{place} was due; sort them by number"
            )
    return places, None


def _is_whole(text: str) -> bool:
    """Whether it is an int64 as Python writes it, so that nothing is lost: not 007."""
    return text.lstrip("-").isdecimal() and len(text) < 19 and str(int(text)) == text
