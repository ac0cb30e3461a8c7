"""Tables as `.parquet`, by pyarrow, which only they need."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.reading import reading
from marr_pipeline.workflows.arrays.columns import (
    ADVICE,
    Array,
    Cells,
    Holds,
    find_columns,
    stripped,
)
from marr_pipeline.workflows.arrays.spool import Spool

PARQUET = (".parquet", ".pq")
_BLOCK_ROWS = 2**16
"""Rows that are read at a time."""


def read_parquet(path: Path, *, holds: Holds, is_labelled: bool) -> Cells:
    """The cells of a `.parquet`, its numbers as float32 and its lists as they are.

    Raises:
        DataError: no such table, an empty cell, or one that is not of its column's kind.
        ConfigError: pyarrow is not installed.
    """
    arrow, parquet = load_pyarrow(path)
    with (
        reading(path, "a .parquet table", ADVICE[holds]),
        parquet.ParquetFile(path) as file,
    ):
        return _read(arrow, file, path, holds=holds, is_labelled=is_labelled)


def _read(arrow: Any, file: Any, path: Path, *, holds: Holds, is_labelled: bool) -> Cells:
    names = [str(name) for name in file.schema_arrow.names]
    columns = find_columns(names, holds=holds, is_labelled=is_labelled, where=str(path))
    if not file.metadata.num_rows:
        raise DataError(f"{path}: at least one row expected, got none; add rows")
    others = [place for place in (columns.label, columns.sample) if place is not None]
    lists, widths, first = list[int](), dict[int, int](), 0
    numbers, own = Spool(), {place: Spool() for place in range(len(names))}
    for batch in file.iter_batches(_BLOCK_ROWS):
        found = {
            place: _column(
                arrow, batch.column(place), first=first, where=f"{path}: column {names[place]!r}"
            )
            for place in (*columns.numbers, *others)
        }
        first += batch.num_rows
        lists = [place for place in columns.numbers if found[place].ndim == 2]
        if not lists:
            scores = {names[place]: found[place] for place in columns.numbers}
            numbers.add(_side_by_side(scores, batch.num_rows, holds=holds, where=str(path)))
        for place in lists:
            width = found[place].shape[1]
            if widths.setdefault(place, width) != width:
                raise _unequal(f"{path}: column {names[place]!r}", widths[place], width)
        for place in (*lists, *others):
            own[place].add(found[place])
    label, sample = (
        None if place is None else own[place].array() for place in (columns.label, columns.sample)
    )
    return Cells(
        columns=columns,
        numbers=np.empty(0) if lists else numbers.array(),
        labels=label,
        ids=sample,
        lists={names[place]: own[place].array() for place in lists},
    )


def _side_by_side(
    columns: Mapping[str, Array], num_rows: int, *, holds: Holds, where: str
) -> Array:
    """Columns (B,) of numbers as rows (B, M) float32."""
    rows = np.empty((num_rows, len(columns)), np.float32)
    for place, (name, each) in enumerate(columns.items()):
        if each.dtype.kind not in "fiu":
            of = "a class" if holds == "logits" else "features"
            raise DataError(
                f"{where}: numbers in every column of {of} expected, got {each.dtype} in {name!r}; "
                f"{ADVICE[holds]}"
            )
        rows[:, place] = each
    return rows


def load_pyarrow(path: Path) -> tuple[Any, Any]:
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


def _column(arrow: Any, whole: Any, *, first: int, where: str) -> Array:
    """Cells (B,) of numbers or text, or (B, W) of lists, of a column from row `first`."""
    if whole.null_count:
        row = first + whole.is_null().to_pylist().index(True)
        raise DataError(
            f"{where}: a value in every cell expected, got none in row {row}; "
            "remove or repair such rows"
        )
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
            raise _unequal(where, lengths.min(), lengths.max())
    if kinds.is_nested(whole.type):
        flat: Array = whole.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(whole), -1)
    found: Array = np.asarray(whole.to_numpy(zero_copy_only=False))
    return found if found.dtype.kind in "fiu" else stripped(found)


def _unequal(where: str, *lengths: int) -> DataError:
    return DataError(
        f"{where}: as many numbers in every list expected, got {min(lengths)} to {max(lengths)}; "
        "write one for each class"
    )


def _is_list_of_numbers(kinds: Any, kind: Any) -> bool:
    is_list = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
    return bool(
        is_list and (kinds.is_floating(kind.value_type) or kinds.is_integer(kind.value_type))
    )
