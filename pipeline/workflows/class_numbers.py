"""A number for each class, from a file or as it stands: what `--class-distribution`,
`--target-prior` and `--prior-counts` take.

K classes. In class order: text with blanks or commas, a JSON list, `.npy`, `.npz`. By class name: a
JSON object, or a `.csv` whose columns are `class` and another. Classes without names are called by
their places, 0 to K-1.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError
from marr_pipeline.labels import shown
from marr_pipeline.reading import reading
from marr_pipeline.workflows.arrays import map_npy, read_npz

TRAIN, UNIFORM = "train", "uniform"
PRIOR_COUNT_KEYS = ("prior_counts", "class_counts", "train_shots")
"""Under which counts stand in an `.npz` or a JSON object; the last is that of published lists."""

Floats = npt.NDArray[np.float64]


def prior_counts(said: str | None, class_counts: npt.NDArray[np.int64]) -> Floats | None:
    """Counts (K,) that a foreign checkpoint was trained on, in class order.

    Args:
        said: `train`, `uniform`, or a file with one number a class; None if it is not known.
        class_counts: (K,) of the training split.

    Raises:
        DataError: the file has no such numbers.
    """
    if said is None:
        return None
    if said == TRAIN:
        return class_counts.astype(np.float64)
    if said == UNIFORM:
        return np.full(len(class_counts), class_counts.mean())
    return numbers_in(
        Path(said),
        len(class_counts),
        keys=PRIOR_COUNT_KEYS,
        remedy="count the samples that the network was trained on",
    )


def numbers_in(
    path: Path,
    num_classes: int,
    *,
    keys: Sequence[str],
    remedy: str,
    class_names: Sequence[str] | None = None,
) -> Floats:
    """Numbers (K,) of at least 0, not all of them 0, that a file holds.

    Args:
        path: the file.
        num_classes: K.
        keys: under one of which the numbers stand, in class order, in an object or archive.
        remedy: what mends a file without such numbers, for errors.
        class_names: (K,), by which an object or a table may have them.

    Raises:
        DataError: the file has no such numbers.
    """
    expected = "one number a class as .npz, .npy, .json, .csv or text"
    with reading(path, expected, "write them so"):
        found = _read(path)
        if isinstance(found, Mapping):
            known = [key for key in keys if key in found and key not in (class_names or ())]
            if not known and path.suffix == ".npz":
                raise DataError(
                    f"{path}: numbers under {' or '.join(keys)} expected, got "
                    f"{', '.join(found) or 'nothing'}; rename them"
                )
            found = found[known[0]] if known else found
        return numbers_of(
            found, num_classes, where=str(path), remedy=remedy, class_names=class_names
        )


def numbers_of(
    given: Any,
    num_classes: int,
    *,
    where: str,
    remedy: str,
    class_names: Sequence[str] | None = None,
) -> Floats:
    """Numbers (K,) of at least 0, not all of them 0, in class order or by name.

    Args:
        given: numbers (K,), or a mapping, or a pandas Series, from every class to its number.
        num_classes: K.
        where: how errors name it.
        remedy: what mends it, for errors.
        class_names: (K,), where the classes have names.

    Raises:
        DataError: they are no such numbers.
    """
    if hasattr(given, "items"):
        given = _by_name(given, num_classes, where=where, remedy=remedy, class_names=class_names)
    found = np.asarray(given, dtype=np.float64)
    if found.shape != (num_classes,):
        raise DataError(
            f"{where}: {num_classes} numbers expected, one a class in class order, got an array "
            f"{found.shape}; {remedy}"
        )
    is_valid = np.isfinite(found) & (found >= 0)
    if not is_valid.all() or not found.any():
        got = found[~is_valid][0] if not is_valid.all() else "zeros alone"
        raise DataError(
            f"{where}: numbers of at least 0, not all of them 0, expected, got {got}; {remedy}"
        )
    return found


def _by_name(
    given: Any,
    num_classes: int,
    *,
    where: str,
    remedy: str,
    class_names: Sequence[str] | None,
) -> list[Any]:
    """The values in class order; `0` to `K-1` are places unless classes are called so."""
    values = {str(name): value for name, value in given.items()}
    places = [str(place) for place in range(num_classes)]
    names = places if class_names is None else list(class_names)
    if values.keys() == set(places) != set(names):
        names = places
    unknown = [name for name in values if name not in set(names)]
    missing = [name for name in names if name not in values]
    parts = {"none": missing, "one": unknown}
    got = [f"{word} for {shown(found)}" for word, found in parts.items() if found]
    if got:
        raise DataError(
            f"{where}: a number for each of the classes {shown(names)} expected, got "
            f"{' and '.join(got)}; name every class, one that does not occur with 0"
        )
    return [values[name] for name in names]


def _read(path: Path) -> Any:
    """Numbers, or a mapping to them, as a file has them."""
    if path.suffix == ".npz":
        return read_npz(path)
    if path.suffix == ".npy":
        return map_npy(path)
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        return json.loads(text, object_pairs_hook=lambda pairs: _each_once(pairs, path))
    if path.suffix == ".csv":
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if row]
        if rows and rows[0][0].lower() == "class":
            return _each_once(_pairs(rows, path), path)
        if len(rows) > 1 and any(len(row) > 1 for row in rows):
            raise DataError(
                f"{path}: the header class,share expected above rows of both, got "
                f"{','.join(rows[0])}; add it"
            )
    return text.replace(",", " ").split()


def _pairs(rows: Sequence[Sequence[str]], path: Path) -> list[tuple[str, str]]:
    """Class and number of the rows below a header."""
    for row in rows:
        if len(row) != 2:
            raise DataError(
                f"{path}: two columns, class and its number, expected, got {','.join(row)}; leave "
                "others out"
            )
    return [(name, number) for name, number in rows[1:]]


def _each_once(pairs: Sequence[tuple[str, Any]], path: Path) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: every class once expected, got {twice} twice; keep one of them")
    return found
