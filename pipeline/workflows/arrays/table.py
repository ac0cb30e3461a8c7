"""Tables, `.csv` and `.parquet`: what their columns mean, and how rows are written.

    id,label,cat,dog,owl
    img_1.png,0,3.25,-1.5,0.75

Beside `label` and `id` every column holds the scores of one class, in class order, or, if that is
what is asked for, a feature. Of scores either all are numbered, or all are named as classes: a
column beside them that is neither (an index, a prediction) would become a class, so it is refused.
N rows, K classes, D features.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from marr_pipeline.errors import DataError
from marr_pipeline.labels import is_whole, shown
from marr_pipeline.workflows.arrays.columns import Array, Cells, Holds, is_other, other_columns
from marr_pipeline.workflows.arrays.csv_file import read_csv
from marr_pipeline.workflows.arrays.parquet_file import PARQUET, load_pyarrow, read_parquet

TABLES = (".csv", *PARQUET)
_COUNTING = re.compile(
    r"(?:logits?|class|scores?|prob(?:s|a|ability|abilities)?|log_?probs?|p|x)?"
    r"[ _.:\-\[(]*(\d+)[\])]?",
    re.IGNORECASE,
)
_FEWEST_ROWS = 10
"""Below, a column of whole numbers beside others with fractions may be so by chance."""
_SEEN_ROWS = 1000
_WRITTEN_ROWS = 1024


def read_table(
    path: Path, *, holds: Holds = "logits", is_labelled: bool = True
) -> dict[str, Array]:
    """`labels` (N,), `ids` if there, and what the table holds.

    - `logits` (N, K) as they are, and `class_names`, unless the columns only count. Where they are
      numbered from 1, so are the labels, and both are brought to count from 0;
    - `features` (N, D) and `feature_names` (D,);
    - labels alone, whatever is beside them.

    Labels are text if the table has text.

    Args:
        path: `.csv` or `.parquet`; in the latter, columns of lists are arrays of their name, and a
            single one holds the features.
        holds: what the columns beside label and id are.
        is_labelled: whether a table without labels is refused.

    Raises:
        DataError: no such table, or a column that is none of what it holds.
        ConfigError: the library that reads the file is not installed.
    """
    read = read_parquet if path.suffix.lower() in PARQUET else read_csv
    cells = read(path, holds=holds, is_labelled=is_labelled)
    arrays = {}
    if cells.labels is not None:
        # Others are refused as they are, like those of any other file.
        is_counted = cells.labels.dtype.kind == "f" and is_whole(cells.labels)
        arrays["labels"] = cells.labels.astype(np.int64) if is_counted else cells.labels
    if cells.ids is not None:
        arrays["ids"] = cells.ids
    if holds == "features":
        return arrays | _features(cells, where=str(path))
    if cells.lists:
        return arrays | cells.lists
    if holds == "logits":
        return _of_classes(cells, arrays, where=str(path))
    return arrays


def write_table(path: Path, blocks: Iterable[Mapping[str, Array]], *, suffix: str) -> None:
    """Columns (N,) of numbers or text under their names, block by block.

    Args:
        path: of the file, whatever its name.
        blocks: columns (B,), at least one and the same ones in each block, of which there is one
            at least.
        suffix: of the format, one of `TABLES`.

    Raises:
        ConfigError: the library that writes it is not installed.
    """
    if suffix in PARQUET:
        arrow, parquet = load_pyarrow(path)
        tables = (arrow.table(dict(columns)) for columns in blocks)
        first = next(tables)
        with parquet.ParquetWriter(path, first.schema) as file:
            for table in chain([first], tables):
                file.write_table(table)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        for place, columns in enumerate(blocks):
            if place == 0:
                rows.writerow(columns)
            num_rows = len(next(iter(columns.values())))
            for start in range(0, num_rows, _WRITTEN_ROWS):
                block = slice(start, start + _WRITTEN_ROWS)
                # As text by NumPy, which writes a float32 with no more digits than it has.
                cells = [each[block].astype(str) for each in columns.values()]
                rows.writerows(zip(*cells, strict=True))


def _features(cells: Cells, *, where: str) -> dict[str, Array]:
    """`features` (N, D) and `feature_names` (D,)."""
    names = list(cells.lists) or cells.columns.number_names
    if cells.lists and len(names) != 1:
        raise DataError(
            f"{where}: one column of lists of features expected, got {shown(names)}; leave the "
            "others out"
        )
    if not names:
        raise DataError(f"{where}: columns of features expected, got none; add them")
    found = [name for name in cells.columns.number_names if is_other(name)]
    if found and not cells.lists:
        raise other_columns(found, holds="features", where=where)
    if cells.lists:
        return {"features": cells.lists[names[0]], "feature_names": np.array(names)}
    return {"features": cells.numbers, "feature_names": np.array(names)}


def _of_classes(cells: Cells, own: Mapping[str, Array], *, where: str) -> dict[str, Array]:
    """The arrays of a table of scores, with labels and ids, `own`."""
    columns, scores, labels = cells.columns.number_names, cells.numbers, own.get("labels")
    arrays = {"logits": scores, **own}
    texts = labels is not None and labels.dtype.kind == "U"
    values = set(np.unique(labels).tolist()) if labels is not None and texts else set()
    if len(columns) == 1:
        other = values - {columns[0]}
        if len(values) == 2 and len(other) == 1:
            arrays["class_names"] = np.array([*other, columns[0]])
        return arrays
    _check_are_classes(columns, scores, values, where=where)
    numbers = [int(match[1]) for match in map(_COUNTING.fullmatch, columns) if match is not None]
    if not columns or len(numbers) < len(columns) or set(columns) <= values:
        arrays["class_names"] = np.array(columns)
        return arrays
    first = min(numbers[0], 1)
    for place, number in enumerate(numbers, start=first):
        if number != place:
            raise DataError(
                f"{where}: columns of logits in class order expected, got column {number} where "
                f"{place} was due; sort them by number, without gaps"
            )
    if first and "labels" in arrays and not texts:
        if (arrays["labels"] == 0).any():
            raise DataError(
                f"{where}: labels that count from 1, as the columns do, expected, got 0; let both "
                "count from 0"
            )
        arrays["labels"] = arrays["labels"] - first
    return arrays


def _check_are_classes(columns: list[str], scores: Array, values: set[str], *, where: str) -> None:
    """Refuse columns that are neither numbered nor named as classes when others are.

    Args:
        columns: M names.
        scores: (N, M).
        values: labels of the rows, where they are text.
        where: how the error names the file.
    """
    unnamed = [name for name in columns if name not in values]
    counted = [name for name in unnamed if _COUNTING.fullmatch(name)]
    others = [name for name in unnamed if name not in counted]
    if len(counted) > 1 and len(counted) < len(columns):
        found = others or counted
    else:
        found = [name for name in others if is_other(name)]
    if not found and len(scores) >= _FEWEST_ROWS:
        found = [columns[place] for place in _counts_of_something(scores)]
    if found:
        raise other_columns(found, holds="logits", where=where)


def _counts_of_something(scores: Array) -> list[int]:
    """Columns of varying whole numbers, such as an index, beside others (N, M) with fractions.

    Zeros and ones are left alone: probabilities that were rounded are.
    """
    head = scores[:_SEEN_ROWS]
    is_whole_column = (head == np.round(head)).all(axis=0)
    if is_whole_column.all():
        return []
    found = []
    for place in np.flatnonzero(is_whole_column).tolist():
        column = scores[:, place]
        low, high = column.min(), column.max()
        if high > low and (low < 0 or high > 1) and bool((column == np.round(column)).all()):
            found.append(place)
    return found
