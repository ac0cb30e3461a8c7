"""Tables of scores, `.csv` and `.parquet`: which column is what, and how rows are written.

    id,label,cat,dog,owl
    img_1.png,0,3.25,-1.5,0.75

One column is `label`, one may be `id`, in any case; every other one holds the scores of one class,
in class order. Either all of these are numbered, or all are named as classes: a column beside them
that is neither (an index, a prediction) would become a class, so it is refused. N rows, K classes.
"""

import csv
import re
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import ConfigError, DataError, first_line
from marr_pipeline.labels import is_whole, shown

Array = npt.NDArray[Any]

PARQUET = (".parquet", ".pq")
TABLES = (".csv", *PARQUET)
_LABEL, _ID = ("label", "labels"), ("id", "ids")
_COUNTING = re.compile(
    r"(?:logits?|class|scores?|prob(?:s|a|ability|abilities)?|log_?probs?|p|x)?"
    r"[ _.:\-\[(]*(\d+)[\])]?",
    re.IGNORECASE,
)
# What programs write beside scores. A class of such a name is one that rows are labelled with.
_NO_CLASS = re.compile(
    r"|index|level_\d+|__index_level_\d+__|unnamed:? ?\d+|y_?(?:true|pred|hat)|true_?label|target"
    r"|pred(?:s|icted|ictions?)?(?:_?(?:label|class|id))?|argmax|conf(?:idence)?|correct|loss|nll"
    r"|entropy|split|fold|file(?:_?name)?|path|image(?:_?id)?",
    re.IGNORECASE,
)
_FEWEST_ROWS = 10
"""Below, a column of whole numbers beside others with fractions may be so by chance."""
_ADVICE = "write a column 'label', if wanted 'id', and one of logits for each class, in class order"
_SEEN_ROWS = 1000
_WRITTEN_ROWS = 1024


def read_table(path: Path, *, is_labelled: bool = True) -> dict[str, Array]:
    """`logits` (N, K) as they are, `labels` (N,) and, if there, `ids` and `class_names`.

    Labels are text if the table has text. Where the columns are numbered from 1, so are the labels,
    and both are brought to count from 0; numbers alone name no classes.

    Args:
        path: `.csv` or `.parquet`; in the latter, columns of lists are arrays of their name.
        is_labelled: whether a table without labels is refused.

    Raises:
        DataError: no such table, or a column that is no class's beside others that are.
        ConfigError: the library that reads the file is not installed.
    """
    read = _read_parquet if path.suffix.lower() in PARQUET else _read_csv
    return read(path, is_labelled=is_labelled)


def write_table(path: Path, columns: Mapping[str, Array], *, suffix: str) -> None:
    """Columns (N,) of numbers or text under their names.

    Args:
        path: of the file, whatever its name.
        columns: at least one, all of one length.
        suffix: of the format, one of `TABLES`.

    Raises:
        ConfigError: the library that writes it is not installed.
    """
    if suffix in PARQUET:
        arrow, parquet = _arrow(path)
        parquet.write_table(arrow.table(dict(columns)), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        num_rows = len(next(iter(columns.values())))
        for start in range(0, num_rows, _WRITTEN_ROWS):
            block = slice(start, start + _WRITTEN_ROWS)
            # As text by NumPy, which writes a float32 with no more digits than it has.
            cells = [each[block].astype(str) for each in columns.values()]
            rows.writerows(zip(*cells, strict=True))


def _read_csv(path: Path, *, is_labelled: bool) -> dict[str, Array]:
    def unlike(found: str) -> DataError:
        expected = "a table of comma-separated UTF-8 text expected"
        return DataError(f"{path}: {expected}, got {found}; {_ADVICE}")

    values = array("f")
    ids: list[str] = []
    labels: list[str] = []
    lines_of: dict[bool, int] = {}  # the first line whose label is a number, or is none
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            columns = [name.strip() for name in next(lines, [])]
            label, sample, places = _places(columns, is_labelled=is_labelled, where=str(path))
            for cells in filter(None, lines):
                if len(cells) != len(columns):
                    line = f"line {lines.line_num} under {len(columns)} names"
                    raise unlike(f"{len(cells)} columns in {line}")
                if label is not None:
                    labels.append(cells[label].strip())
                    lines_of.setdefault(_is_number(labels[-1]), lines.line_num)
                    if not labels[-1]:
                        raise unlike(f"'' in line {lines.line_num}, column {columns[label]!r}")
                if sample is not None:
                    ids.append(cells[sample].strip())
                try:
                    values.extend([float(cells[place]) for place in places])
                except ValueError:
                    place = next(place for place in places if not _is_number(cells[place]))
                    if _NO_CLASS.fullmatch(columns[place]):
                        raise _other_columns([columns[place]], where=str(path)) from None
                    line = f"line {lines.line_num}, column {columns[place]!r}"
                    raise unlike(f"{cells[place]!r} in {line}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unlike(first_line(error)) from error
    num_rows = len(values) // max(len(places), 1) or len(labels)
    if not num_rows:
        raise DataError(f"{path}: at least one row below the header expected, got none; add rows")
    if len(lines_of) == 2 and not set(labels) <= set(columns):
        got = next(each for each in labels if not _is_number(each))
        raise unlike(f"{got!r} beside labels that are numbers in line {lines_of[False]}")
    is_text = False in lines_of
    is_exact = all(map(_is_exact, ids))
    return _arrays(
        [columns[place] for place in places],
        np.frombuffer(values, dtype=np.float32).reshape(num_rows, -1),
        labels=None if label is None else np.array(labels, str if is_text else float),
        ids=None if sample is None else np.array([int(i) for i in ids] if is_exact else ids),
        where=str(path),
    )


def _read_parquet(path: Path, *, is_labelled: bool) -> dict[str, Array]:
    arrow, parquet = _arrow(path)
    try:
        table = parquet.read_table(path)
    except (OSError, arrow.lib.ArrowException) as error:
        raise DataError(
            f"{path}: a .parquet table expected, got {first_line(error)}; {_ADVICE}"
        ) from error
    columns = [str(name) for name in table.column_names]
    label, sample, places = _places(columns, is_labelled=is_labelled, where=str(path))
    if not table.num_rows:
        raise DataError(f"{path}: at least one row expected, got none; add rows")
    arrays = [
        _column(arrow, table.column(place), where=f"{path}: column {name!r}")
        for place, name in enumerate(columns)
    ]
    own = {
        key: arrays[place]
        for key, place in (("labels", label), ("ids", sample))
        if place is not None
    }
    lists = {columns[place]: arrays[place] for place in places if arrays[place].ndim == 2}
    if lists:
        return {**lists, **own}
    for place in places:
        if arrays[place].dtype.kind not in "fiu":
            raise DataError(
                f"{path}: numbers in every column of a class expected, got {arrays[place].dtype} "
                f"in {columns[place]!r}; {_ADVICE}"
            )
    numbers = [arrays[place].astype(np.float32) for place in places]
    return _arrays(
        [columns[place] for place in places],
        np.stack(numbers, axis=1) if numbers else np.empty((table.num_rows, 0), np.float32),
        labels=own.get("labels"),
        ids=own.get("ids"),
        where=str(path),
    )


def _arrow(path: Path) -> tuple[Any, Any]:
    """`pyarrow` and its reader, which only such files need."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(
            f"{path}: the package pyarrow, which reads and writes {PARQUET[0]}, expected, got none "
            "installed; pip install 'marr-pipeline[tables]', or take .csv or .npz"
        ) from error
    return pyarrow, parquet


def _column(arrow: Any, column: Any, *, where: str) -> Array:
    """A column (N,) of numbers or text, or (N, W) where it is of lists.

    Raises:
        DataError: a cell is empty, or lists differ in length.
    """
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(
            f"{where}: a value in every cell expected, got none in row {row}; "
            "remove or repair such rows"
        )
    whole = column.combine_chunks()
    kinds = arrow.types
    if kinds.is_dictionary(whole.type):
        whole = whole.dictionary_decode()
    if kinds.is_nested(whole.type) and not _is_list_of_numbers(kinds, whole.type):
        raise DataError(
            f"{where}: numbers, text or lists of numbers expected, got {whole.type}; write a "
            "column for each class"
        )
    if kinds.is_list(whole.type) or kinds.is_large_list(whole.type):
        lengths = np.diff(whole.offsets.to_numpy())
        if lengths.min() < lengths.max():
            raise DataError(
                f"{where}: as many numbers in every list expected, got {lengths.min()} to "
                f"{lengths.max()}; write one for each class"
            )
    if kinds.is_nested(whole.type):
        flat: Array = whole.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(whole), -1)
    found: Array = np.asarray(whole.to_numpy(zero_copy_only=False))
    return found if found.dtype.kind in "fiu" else np.char.strip(found.astype(str))


def _is_list_of_numbers(kinds: Any, kind: Any) -> bool:
    is_list = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
    return bool(
        is_list and (kinds.is_floating(kind.value_type) or kinds.is_integer(kind.value_type))
    )


def _places(
    columns: list[str], *, is_labelled: bool, where: str
) -> tuple[int | None, int | None, list[int]]:
    """Where the labels are, where the ids, and where the scores.

    Raises:
        DataError: no label, two, or two columns of one name.
    """
    label, sample = (
        [place for place, name in enumerate(columns) if name.lower() in known]
        for known in (_LABEL, _ID)
    )
    is_single = len(label) <= 1 and len(sample) <= 1 and len(set(columns)) == len(columns)
    if not is_single or len(label) < is_labelled:
        raise DataError(
            f"{where}: a header row with one column 'label' and a name of its own for each other "
            f"column expected, got {shown(columns) or 'nothing'}; {_ADVICE}"
        )
    places = [place for place in range(len(columns)) if place not in (*label, *sample)]
    return next(iter(label), None), next(iter(sample), None), places


def _arrays(
    columns: list[str], scores: Array, *, labels: Array | None, ids: Array | None, where: str
) -> dict[str, Array]:
    """The arrays of a table whose columns of scores (N, M) are these.

    Raises:
        DataError: a column that is no class's, columns that are numbered in another order, or
            labels that do not count as the columns do.
    """
    arrays = {"logits": scores}
    if labels is not None:
        # Others are refused as they are, like those of any other file.
        is_counted = labels.dtype.kind == "f" and is_whole(labels)
        arrays["labels"] = labels.astype(np.int64) if is_counted else labels
    if ids is not None:
        arrays["ids"] = ids
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
        found = [name for name in others if _NO_CLASS.fullmatch(name)]
    if not found and len(scores) >= _FEWEST_ROWS:
        found = [columns[place] for place in _counts_of_something(scores)]
    if found:
        raise _other_columns(found, where=where)


def _other_columns(found: list[str], *, where: str) -> DataError:
    return DataError(
        f"{where}: only columns of classes beside label and id expected, all of them numbered "
        f"or all named as classes, got {shown([repr(name) for name in found])} beside them; "
        "leave such columns out (an index of pandas: index=False)"
    )


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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_exact(text: str) -> bool:
    """Whether it is an int64 as Python writes it, so that nothing is lost: not 007."""
    return text.lstrip("-").isdecimal() and len(text) < 19 and str(int(text)) == text
