"""Logits in a table of text: one row a sample, a header that names the columns.

    id,label,cat,dog,owl
    img_1.png,0,3.25,-1.5,0.75

`label` is the class id, `id` may be left out, and every other column holds the logits of one
class, in class order. Their names become the class names, unless they only count: `0`, `1`, ... or
`logit_0`, `logit_1`, ...
"""

import csv
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError, first_line

_LABEL, _ID = "label", "id"
_COUNTING = re.compile(r"(?:logits?|class)?[ _.]?(\d+)", re.IGNORECASE)
_SHOWN_COLUMNS = 6
_EXPECTED = "a table of comma-separated UTF-8 text expected"
_ADVICE = "write a column 'label', if wanted 'id', and one of logits for each class, in class order"


def read_csv(path: Path) -> dict[str, npt.NDArray[Any]]:
    """`labels` (N,), `logits` (N, K) float32 and, if there, `ids` and `class_names`.

    Raises:
        DataError: no such header, or a cell that is no number; it names line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = [name.strip() for name in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: {_EXPECTED}, got {first_line(error)}; {_ADVICE}") from error
    if columns.count(_LABEL) != 1 or len(set(columns)) < len(columns):
        shown = ", ".join(columns[:_SHOWN_COLUMNS]) + (
            ", ..." if len(columns) > _SHOWN_COLUMNS else ""
        )
        raise DataError(
            f"{path}: a header row with one column 'label' and a name of its own for each other "
            f"column expected, got {shown or 'nothing'}; {_ADVICE}"
        )
    classes = [index for index, name in enumerate(columns) if name not in (_LABEL, _ID)]
    class_names = _class_names([columns[index] for index in classes], where=str(path))
    numbers, ids = _read_numbers(path, columns)
    labels = numbers[:, columns.index(_LABEL)]
    arrays: dict[str, npt.NDArray[Any]] = {
        "labels": _whole(labels),
        "logits": numbers[:, classes],
    }
    if ids:
        arrays["ids"] = np.array([int(i) for i in ids] if all(map(_is_whole, ids)) else ids)
    if class_names is not None:
        arrays["class_names"] = np.array(class_names)
    return arrays


def _read_numbers(path: Path, columns: list[str]) -> tuple[npt.NDArray[np.float32], list[str]]:
    """All cells (N, columns) as float32, those of the ids as 0, and the ids as text."""
    ids: list[str] = []

    def keep(text: str) -> float:
        ids.append(text.strip())
        return 0.0

    converters: dict[int | str, Callable[[str], float]] = (
        {columns.index(_ID): keep} if _ID in columns else {}
    )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file, warnings.catch_warnings():
            next(csv.reader(file))
            warnings.filterwarnings("ignore", message=".*input contained no data")
            numbers = np.loadtxt(
                file,
                dtype=np.float32,
                delimiter=",",
                comments=None,
                quotechar='"',
                converters=converters or None,
                ndmin=2,
            )
    except (OSError, ValueError) as error:
        reason = _bad_cell(path, columns) or first_line(error)
        raise DataError(f"{path}: {_EXPECTED}, got {reason}; {_ADVICE}") from error
    if numbers.size == 0:
        raise DataError(f"{path}: at least one row below the header expected, got none; add rows")
    if numbers.shape[1] != len(columns):
        raise DataError(f"{path}: {_EXPECTED}, got {_bad_cell(path, columns)}; {_ADVICE}")
    return numbers, ids


def _bad_cell(path: Path, columns: list[str]) -> str | None:
    """The first cell or line that does not fit, found slowly, in words."""
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        reader = csv.reader(file)
        next(reader)
        for cells in reader:
            if cells and len(cells) != len(columns):
                return f"{len(cells)} columns in line {reader.line_num} under {len(columns)} names"
            for name, cell in zip(columns, cells, strict=False):
                if name != _ID and not _is_number(cell):
                    return f"{cell!r} in line {reader.line_num}, column {name!r}"
    return None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_whole(text: str) -> bool:
    """Whether it is an int64 as Python writes it, so that nothing is lost: not 007."""
    return text.lstrip("-").isdecimal() and len(text) < 19 and str(int(text)) == text


def _whole(labels: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Labels as int64; as they are if one is no whole number, to be refused like any other."""
    is_whole = np.isfinite(labels) & (labels == np.round(labels))
    return labels.astype(np.int64) if is_whole.all() else labels


def _class_names(names: list[str], *, where: str) -> list[str] | None:
    """The names of the columns of logits, or None if they only count, and in the right order."""
    matches = [_COUNTING.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match is not None]
    if not names or len(numbers) < len(names):
        return names
    for place, number in enumerate(numbers, start=min(numbers[0], 1)):
        if number != place:
            raise DataError(
                f"{where}: columns of logits in class order expected, got column {number} where "
                f"{place} was due; sort them by number"
            )
    return None
