"""Arrays of others joined into a cache: rows of each split, and the head if it is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from marr_pipeline import cache
from marr_pipeline.errors import DataError
from marr_pipeline.files import FileName
from marr_pipeline.workflows import CREATOR, library_versions
from marr_pipeline.workflows.arrays import SplitFiles as SplitFiles
from marr_pipeline.workflows.arrays import read_split
from marr_pipeline.workflows.arrays.head import (
    build_head,
    check_head_makes_logits,
    class_counts,
    read_head,
)
from marr_pipeline.workflows.arrays.rows import as_strings, split_arrays


@dataclass(frozen=True, kw_only=True)
class ImportedCache:
    """What was written, and what a user should know of it.

    Attributes:
        path: the cache.
        fingerprint: of its contents.
        num_samples: by split name.
        warnings: for a result that stands but needs a look.
    """

    path: Path
    fingerprint: str
    num_samples: Mapping[str, int]
    warnings: Sequence[str]

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline import`."""
        return {
            "command": "import",
            "cache": self.path,
            "fingerprint": self.fingerprint,
            "splits": dict(self.num_samples),
            "warnings": list(self.warnings),
        }


def import_logits(
    given_files: Mapping[str, SplitFiles | FileName],
    output: FileName,
    *,
    head: FileName | None = None,
    overwrite: bool = False,
) -> ImportedCache:
    """Write a cache from files of logits and labels.

    Logits and features are stored as float16 if all of them are, else as float32.

    Args:
        given_files: by split name, `train` among them; a path is a file with its own labels.
        output: the cache.
        head: file with weight and bias, or weight_norm, and counts; None if the head is unknown.
        overwrite: replace an existing cache.

    Raises:
        DataError: a file is invalid, files contradict each other, or head and logits disagree;
            nothing is written.
        CacheError: the arrays are none that a cache holds, or it cannot be written.
    """
    output, head = Path(output), None if head is None else Path(head)
    files = {
        name: found if isinstance(found, SplitFiles) else SplitFiles(rows=Path(found))
        for name, found in given_files.items()
    }
    raw = {name: read_split(name, found) for name, found in files.items()}
    splits = {name: split_arrays(arrays, where=str(files[name])) for name, arrays in raw.items()}
    num_classes = splits["train"].logits.shape[2]
    for name, arrays in splits.items():
        if arrays.logits.shape[2] != num_classes:
            raise DataError(
                f"{files[name]}: logits of {num_classes} classes expected, as in train, got "
                f"{arrays.logits.shape[2]}; give splits of one model"
            )
    warnings = []
    if head is None:
        given = {"weight_norm": np.ones(num_classes)}
        warnings.append("no head given: every weight norm is 1, and marr is vector scaling")
    else:
        given = read_head(head)
    where = str(head)
    built = build_head(given, num_classes=num_classes, where=where)
    counts, notes = class_counts(
        given, splits["train"].labels, num_classes=num_classes, where=where
    )
    for name, arrays in splits.items():
        check_head_makes_logits(built, arrays, where=f"{files[name]}, {head}")
    names = _class_names(
        [(where, given), *((str(files[name]), raw[name]) for name in raw)], num_classes=num_classes
    )
    dtype = _stored_dtype(splits)
    plan = cache.CachePlan(
        class_counts=counts,
        head=built,
        splits={name: arrays.plan for name, arrays in splits.items()},
        dtype=dtype,
        class_names=names,
        parts={
            "splits": {name: _digests(arrays, dtype) for name, arrays in splits.items()},
            "head": built.fingerprint(),
            "class_counts": cache.digest(counts),
            "classes": names,
        },
        meta={
            "files": {
                **{name: found.rows.name for name, found in files.items()},
                "head": None if head is None else head.name,
            }
        },
        creator=CREATOR,
        libraries=library_versions(),
    )
    cache.write_arrays(output, plan, splits, overwrite=overwrite)
    absent = int((counts == 0).sum())
    if absent:
        warnings.append(f"{absent} of {num_classes} classes have no training image")
    return ImportedCache(
        path=output,
        fingerprint=cache.open_cache(output).fingerprint,
        num_samples={name: len(arrays.labels) for name, arrays in splits.items()},
        warnings=warnings + notes,
    )


def _class_names(
    sources: Sequence[tuple[str, Mapping[str, npt.NDArray[Any]]]], *, num_classes: int
) -> list[str] | None:
    """The one list of K class names that the files give, or None.

    Raises:
        DataError: no strings, another number of them, or two files disagree.
    """
    found = [
        (where, as_strings(arrays["class_names"], where=f"{where}: class_names"))
        for where, arrays in sources
        if "class_names" in arrays
    ]
    for where, names in found:
        first, expected = found[0]
        if len(names) != num_classes:
            raise DataError(
                f"{where}: class_names of {num_classes} classes expected, as in the logits, got "
                f"{len(names)}; give one for each"
            )
        if names != expected:
            raise DataError(
                f"{where}: the class names of {first} expected, got others; "
                "are the classes in one order?"
            )
    return found[0][1] if found else None


def _stored_dtype(splits: Mapping[str, cache.SplitArrays]) -> Literal["float32", "float16"]:
    kinds = {
        values.dtype.newbyteorder("=")
        for arrays in splits.values()
        for values in (arrays.logits, arrays.features)
        if values is not None
    }
    return "float16" if kinds == {np.dtype(np.float16)} else "float32"


def _digests(arrays: cache.SplitArrays, dtype: str) -> dict[str, Any]:
    """What a split is made of, for the fingerprint."""
    found: dict[str, Any] = {
        "logits": cache.digest(arrays.logits, dtype=dtype),
        "labels": cache.digest(arrays.labels),
        "views": arrays.views,
    }
    if arrays.features is not None:
        found["features"] = cache.digest(arrays.features, dtype=dtype)
    if arrays.ids is not None:
        found["ids"] = cache.digest(np.array(arrays.ids))
    return found
