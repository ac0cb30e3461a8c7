"""The files of a split as one: the features of backbones side by side, or shards of rows.

V views, N samples, W columns. Files that do not belong together would go into a cache without an
error, and every row of it would be wrong: so whatever they share has to agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError
from marr_pipeline.labels import shown
from marr_pipeline.workflows.arrays import KNOWN, PROBABILITIES, read_labels, read_part
from marr_pipeline.workflows.arrays.columns import Holds
from marr_pipeline.workflows.arrays.joined import Joined, Joint
from marr_pipeline.workflows.arrays.rows import as_views

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
_ROWS = ("logits", PROBABILITIES, "features")
_OF_SAMPLES = ("labels", "ids")


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """Where the rows of one split are.

    Attributes:
        rows: `.npz`, `.csv`, `.parquet`, `.safetensors`, `.pt` or `.pth` with logits, features or
            both, and labels; or `.npy`, `.pt` or `.pth` with one matrix alone. Several are joined.
        labels: of the rows, beside files that hold none; several one below the other.
    """

    rows: tuple[Path, ...]
    labels: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return shown([*self.rows, *self.labels])


def read_split(
    name: str,
    files: SplitFiles,
    *,
    holds: Holds = "logits",
    joint: Joint = "columns",
    is_labelled: bool = True,
) -> tuple[Arrays, list[str]]:
    """The arrays of a split's files, by name and unchecked but for what joins them, and warnings.

    Args:
        name: of the split.
        files: where its rows are.
        holds: what a matrix without a name is, and the columns of a table.
        joint: of several files.
        is_labelled: whether rows without labels are refused already here, as those of a table.

    Raises:
        DataError: a file is of no known kind, not of its kind, or damaged, or files cannot be
            joined.
        ConfigError: the library that reads it is not installed.
    """
    twice = [path for place, path in enumerate(files.rows) if path in files.rows[:place]]
    if twice:
        raise DataError(
            f"{files}: every file once expected, got {twice[0]} again; leave it out or give the "
            "one that was meant"
        )
    # Of several backbones one file of labels is enough.
    has_own = is_labelled and not files.labels and (joint == "rows" or len(files.rows) == 1)
    parts = {
        str(path): read_part(
            name, path, holds=holds, is_labelled=has_own, is_bare=bool(files.labels)
        )
        for path in files.rows
    }
    arrays = _joined(parts, joint)
    notes = _unchecked_order(parts) if joint == "columns" else []
    if files.labels:
        labels = _joined({str(path): read_labels(path) for path in files.labels}, "rows")
        both = [key for key in labels if key in arrays]
        if both:
            raise DataError(
                f"{files}: {both[0]} once expected, got them beside the rows and in a file of "
                "their own; leave one of the two out"
            )
        arrays = arrays | labels
    return arrays, notes


def _unchecked_order(parts: Mapping[str, Arrays]) -> list[str]:
    """A warning of each file without the ids, or else the labels, that others tell rows by."""
    for key in reversed(_OF_SAMPLES):
        known = [where for where, arrays in parts.items() if key in arrays]
        if known:
            return [
                f"rows of {where} are taken in the order of {known[0]}: it has no {key}"
                for where in parts
                if where not in known
            ]
    return []


def _joined(parts: Mapping[str, Arrays], joint: Joint) -> Arrays:
    """The arrays of several files as those of one."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    return _side_by_side(parts) if joint == "columns" else _below(parts)


def _side_by_side(parts: Mapping[str, Arrays]) -> Arrays:
    """Features of the same samples; labels may be in one file alone, but where there are labels,
    ids and views they are the same.
    """
    first, *_ = parts
    for where, arrays in parts.items():
        if "features" not in arrays or "logits" in arrays:
            got = "logits" if "logits" in arrays else ", ".join(arrays) or "nothing"
            raise DataError(
                f"{where}: features alone expected, since several files of a split are those of "
                f"several backbones, got {got}; for parts of its rows give --shards"
            )
    features = {
        where: as_views(each["features"], where=f"{where}: features")
        for where, each in parts.items()
    }
    expected = features[first].shape[:2]
    for where, each in features.items():
        if each.shape[:2] != expected:
            raise DataError(
                f"{where}: features of {expected[1]:,} rows in {expected[0]} views, as in {first}, "
                f"expected, got {each.shape[1]:,} in {each.shape[0]}; give the same samples in one "
                "order, or --shards for parts of the rows"
            )
    joined: Arrays = {}
    for key in (*_OF_SAMPLES, "views", "class_names"):
        owners = {where: arrays[key] for where, arrays in parts.items() if key in arrays}
        if owners:
            joined[key] = _shared(key, owners)
    names = [arrays["feature_names"] for arrays in parts.values() if "feature_names" in arrays]
    if len(names) == len(parts):
        joined["feature_names"] = np.concatenate(names)
    joined["features"] = cast("Array", Joined(features, "columns"))
    return joined


def _below(parts: Mapping[str, Arrays]) -> Arrays:
    """Shards, which hold the same arrays."""
    first, *_ = parts
    known = (*KNOWN, *([] if "logits" in parts[first] else [PROBABILITIES]))
    keys = [key for key in known if key in parts[first]]
    for where, arrays in parts.items():
        if (found := [key for key in known if key in arrays]) != keys:
            raise DataError(
                f"{where}: the arrays of {first} ({', '.join(keys) or 'none'}) expected, got "
                f"{', '.join(found) or 'none'}; save every shard alike"
            )
    joined: Arrays = {}
    for key in keys:
        owners = {where: arrays[key] for where, arrays in parts.items()}
        if key in _ROWS:
            rows = {
                where: as_views(each, where=f"{where}: {key}") for where, each in owners.items()
            }
            _check_alike({where: (len(each), each.shape[2]) for where, each in rows.items()}, key)
            joined[key] = cast("Array", Joined(rows, "rows"))
        elif key in _OF_SAMPLES:
            kinds = {
                where: ("text" if each.dtype.kind in "US" else "numbers", *each.shape[1:])
                for where, each in owners.items()
            }
            _check_alike(kinds, key)
            joined[key] = np.concatenate(list(owners.values()))
        else:
            joined[key] = _shared(key, owners)
    return joined


def _check_alike(found: Mapping[str, tuple[object, ...]], key: str) -> None:
    (first, expected), *others = found.items()
    for where, each in others:
        if each != expected:
            words = ("{0} views of width {1}", "{0}")[key in _OF_SAMPLES]
            raise DataError(
                f"{where}: {key} of {words.format(*expected)}, as in {first}, expected, got "
                f"{words.format(*each)}; save every shard alike"
            )


def _shared(key: str, owners: Mapping[str, Array]) -> Array:
    """What every file has of a key, if it is the same."""
    (first, expected), *others = owners.items()
    for where, each in others:
        if each.shape != expected.shape:
            raise DataError(
                f"{where}: {key} as in {first} {expected.shape} expected, got {each.shape}; give "
                "files of the same samples"
            )
        differs = each != expected
        if differs.any():
            row = int(np.argmax(differs.reshape(len(each), -1).any(axis=1)))
            raise DataError(
                f"{where}: {key} as in {first} expected, got {each[row]} instead of "
                f"{expected[row]} in row {row}; give the same samples in one order"
            )
    return expected
