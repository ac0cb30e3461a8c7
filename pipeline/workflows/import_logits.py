"""Arrays of others joined into a cache: rows of each split, and the head if it is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from marr_pipeline import cache, names
from marr_pipeline.errors import DataError
from marr_pipeline.files import FileName
from marr_pipeline.labels import shown
from marr_pipeline.rectify.settings import check_choice
from marr_pipeline.workflows import CREATOR, library_versions
from marr_pipeline.workflows.arrays import SplitFiles as SplitFiles
from marr_pipeline.workflows.arrays import read_split
from marr_pipeline.workflows.arrays.head import (
    build_head,
    check_head_makes_logits,
    class_counts,
    network_head,
    read_head,
)
from marr_pipeline.workflows.arrays.rows import CheckedSplit, as_strings, split_arrays
from marr_pipeline.workflows.last_look import last_look


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
    weights: str | None = None,
    scale: str | None = None,
    overwrite: bool = False,
) -> ImportedCache:
    """Write a cache from files of logits and labels.

    Logits and features are stored as float16 if all of them are, else as float32.

    Args:
        given_files: by split name, `train` among them; a path is a file with its own labels.
        output: the cache.
        head: file with weight and bias, or weight_norm, and counts; None if the head is unknown.
        weights: which of several networks in the head's file, by a key above it.
        scale: one of `names.SCALES`: probabilities become their logarithms, in memory. None takes
            logits, and refuses what looks like another.
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
    check_choice("scale", scale, (*names.SCALES, None))
    given = {} if head is None else read_head(head)
    where, known = str(head), None
    if "class_names" in given:
        known = as_strings(given["class_names"], where=f"{where}: class_names")
    checked = _checked_splits(files, scale=scale, class_names=known)
    splits = {name: checked[name].arrays for name in files}
    widths = {
        name: rows.logits.shape[2] for name, rows in splits.items() if rows.logits is not None
    }
    num_classes = widths["train"]
    for name, width in widths.items():
        if width != num_classes:
            raise DataError(
                f"{files[name]}: logits of {num_classes} classes expected, as in train, got "
                f"{width}; give splits of one model"
            )
    warnings = [note for found in checked.values() for note in found.notes]
    if head is None:
        given = {"weight_norm": np.ones(num_classes)}
        warnings.append("no head given: every weight norm is 1, and marr is vector scaling")
    elif not {"weight", "weight_norm"} & set(given):
        features = splits["train"].features
        num_features = None if features is None else features.shape[2]
        found, chosen = network_head(
            head, num_classes=num_classes, num_features=num_features, weights=weights
        )
        given |= found
        warnings += chosen
    built = build_head(given, num_classes=num_classes, where=where)
    counts, notes = class_counts(
        given, splits["train"].labels, num_classes=num_classes, where=where
    )
    for name, arrays in splits.items():
        check_head_makes_logits(built, arrays, where=f"{files[name]}, {head}")
    stated = {where: known}
    stated |= {str(files[name]): found.class_names for name, found in checked.items()}
    class_names = _class_names(stated, num_classes=num_classes)
    dtype = _stored_dtype(splits)
    plan = cache.CachePlan(
        class_counts=counts,
        head=built,
        splits={name: arrays.plan for name, arrays in splits.items()},
        dtype=dtype,
        class_names=class_names,
        parts={
            "splits": {name: _digests(arrays, dtype) for name, arrays in splits.items()},
            "head": built.fingerprint(),
            "class_counts": cache.digest(counts),
            "classes": class_names,
        },
        meta={
            "files": {
                **{name: found.rows.name for name, found in files.items()},
                "head": None if head is None else head.name,
            },
            **({} if scale in (None, "logits") else {"scale": scale}),
        },
        creator=CREATOR,
        libraries=library_versions(),
    )
    cache.write_arrays(output, plan, splits, overwrite=overwrite)
    absent = np.flatnonzero(counts == 0).tolist()
    if absent:
        told = shown(absent if class_names is None else [class_names[place] for place in absent])
        warnings.append(f"{len(absent)} of {num_classes} classes have no training sample ({told})")
    written = cache.open_cache(output)
    return ImportedCache(
        path=output,
        fingerprint=written.fingerprint,
        num_samples={name: len(arrays.labels) for name, arrays in splits.items()},
        warnings=[*warnings, *notes, *last_look(written)],
    )


def _checked_splits(
    files: Mapping[str, SplitFiles], *, scale: str | None, class_names: Sequence[str] | None
) -> dict[str, CheckedSplit]:
    """Every split, `train` first: its labels name the classes of others, which may lack some."""
    checked: dict[str, CheckedSplit] = {}
    for name in sorted(files, key=names.SPLITS.index):
        where = str(files[name])
        arrays = read_split(name, files[name])
        found = split_arrays(arrays, where=where, scale=scale, class_names=class_names)
        if name == "train" and class_names is None and arrays["labels"].dtype.kind == "U":
            _check_every_class_is_named(found, where=where)
        class_names = class_names or found.class_names
        checked[name] = found
    return checked


def _check_every_class_is_named(train: CheckedSplit, *, where: str) -> None:
    """Raise a DataError if no row has a column's name as its label: it may be no class's."""
    if train.class_names is None:
        return
    counts = np.bincount(train.arrays.labels, minlength=len(train.class_names))
    unnamed = [name for name, count in zip(train.class_names, counts, strict=False) if not count]
    if unnamed:
        raise DataError(
            f"{where}: rows labelled with every class expected, as labels are text, got none for "
            f"{shown([repr(name) for name in unnamed])}; leave out columns that are no class's, or "
            "give a --head with class_names if some classes have no rows"
        )


def _class_names(
    stated: Mapping[str, Sequence[str] | None], *, num_classes: int
) -> Sequence[str] | None:
    """The one list of K class names that the files give, or None.

    Raises:
        DataError: another number of them, or two files disagree.
    """
    found = [(where, each) for where, each in stated.items() if each is not None]
    for where, each in found:
        first, expected = found[0]
        if len(each) != num_classes:
            raise DataError(
                f"{where}: class_names of {num_classes} classes expected, as in the logits, got "
                f"{len(each)}; give one for each"
            )
        if list(each) != list(expected):
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
    found: dict[str, Any] = {"labels": cache.digest(arrays.labels), "views": arrays.views}
    for kind in ("logits", "features"):
        rows = getattr(arrays, kind)
        if rows is not None:
            found[kind] = cache.digest(rows, dtype=dtype)
    if arrays.ids is not None:
        found["ids"] = cache.digest(np.array(arrays.ids))
    return found
