"""Tables as `.parquet`, by pyarrow, which only they need."""

from pathlib import Path
from typing import Any

import numpy as np

from marr_pipeline.errors import ConfigError, DataError, first_line
from marr_pipeline.workflows.arrays.columns import (
    ADVICE,
    Array,
    Cells,
    Holds,
    find_columns,
    stripped,
)

PARQUET = (".parquet", ".pq")


def read_parquet(path: Path, *, holds: Holds, is_labelled: bool) -> Cells:
    """The cells of a `.parquet`, its numbers as float32 and its lists as they are.

    Raises:
        DataError: no such table, an empty cell, or one that is not of its column's kind.
        ConfigError: pyarrow is not installed.
    """
    arrow, parquet = load_pyarrow(path)
    try:
        table = parquet.read_table(path)
    except (OSError, arrow.lib.ArrowException) as error:
        raise DataError(
            f"{path}: a .parquet table expected, got {first_line(error)}; {ADVICE[holds]}"
        ) from error
    names = [str(name) for name in table.column_names]
    columns = find_columns(names, holds=holds, is_labelled=is_labelled, where=str(path))
    if not table.num_rows:
        raise DataError(f"{path}: at least one row expected, got none; add rows")

    def column(place: int | None) -> Array | None:
        if place is None:
            return None
        return _column(arrow, table.column(place), where=f"{path}: column {names[place]!r}")

    labels, ids = column(columns.label), column(columns.sample)
    found = {names[place]: column(place) for place in columns.numbers}
    arrays = {name: each for name, each in found.items() if each is not None}
    lists = {name: each for name, each in arrays.items() if each.ndim == 2}
    if lists:
        return Cells(columns=columns, numbers=np.empty(0), labels=labels, ids=ids, lists=lists)
    for name, each in arrays.items():
        if each.dtype.kind not in "fiu":
            of = "a class" if holds == "logits" else "features"
            raise DataError(
                f"{path}: numbers in every column of {of} expected, got {each.dtype} in {name!r}; "
                f"{ADVICE[holds]}"
            )
    numbers = np.empty((table.num_rows, len(arrays)), np.float32)
    for place, each in enumerate(arrays.values()):
        numbers[:, place] = each
    return Cells(columns=columns, numbers=numbers, labels=labels, ids=ids)


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
    return found if found.dtype.kind in "fiu" else stripped(found)


def _is_list_of_numbers(kinds: Any, kind: Any) -> bool:
    is_list = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
    return bool(
        is_list and (kinds.is_floating(kind.value_type) or kinds.is_integer(kind.value_type))
    )
