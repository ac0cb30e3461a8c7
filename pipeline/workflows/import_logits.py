"""Arrays of others joined into a cache: rows of each split, and the head if there is one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from marr_pipeline import cache, names
from marr_pipeline.errors import DataError
from marr_pipeline.files import FileName, listed
from marr_pipeline.labels import shown
from marr_pipeline.rectify.settings import FittedRows, check_choice
from marr_pipeline.workflows import CREATOR, library_versions
from marr_pipeline.workflows.arrays.columns import Holds
from marr_pipeline.workflows.arrays.head import (
    build_head,
    check_head_makes_logits,
    class_counts,
    network_head,
    read_head,
)
from marr_pipeline.workflows.arrays.joined import Joint
from marr_pipeline.workflows.arrays.parts import SplitFiles as SplitFiles
from marr_pipeline.workflows.arrays.parts import read_split
from marr_pipeline.workflows.arrays.rows import (
    MAY_BE_FEATURES,
    CheckedSplit,
    as_strings,
    split_arrays,
)
from marr_pipeline.workflows.checks import last_look
from marr_pipeline.workflows.suited import FEATURES


@dataclass(frozen=True, kw_only=True)
class ImportedCache:
    """What was written, and what a user should know of it.

    Attributes:
        path: the cache.
        fingerprint: of its contents.
        num_samples: by split name.
        has_head: whether logits are known, or can be made.
        rows: whether the network was trained on the train split; None where nobody said.
        warnings: for a result that stands but needs a look.
    """

    path: Path
    fingerprint: str
    num_samples: Mapping[str, int]
    has_head: bool
    rows: FittedRows | None
    warnings: Sequence[str]

    @property
    def notes(self) -> list[str]:
        """What is taken for so, and how to say otherwise."""
        if not self.has_head or self.rows is not None:
            return []
        return [
            "samples of --train are taken as seen by the network in training; if they were not, "
            "--rows held-out lets a fit trust them"
        ]

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline import`."""
        return {
            "command": "import",
            "cache": self.path,
            "fingerprint": self.fingerprint,
            "splits": dict(self.num_samples),
            "rows": self.rows,
            "notes": self.notes,
            "warnings": list(self.warnings),
        }


def import_logits(
    given_files: Mapping[str, SplitFiles | FileName | Sequence[FileName]],
    output: FileName,
    *,
    head: FileName | None = None,
    weights: str | None = None,
    scale: str | None = None,
    features: bool = False,
    shards: bool = False,
    rows: FittedRows | None = None,
    overwrite: bool = False,
) -> ImportedCache:
    """Write a cache from files of logits, features or both, and labels.

    Logits and features are stored as float16 if all of them are, else as float32. Large `.npy`,
    `.safetensors` and torch files go into the cache block by block.

    Args:
        given_files: by split name, `train` among them; a path is a file with its own labels,
            several are the features of the same samples by several backbones.
        output: the cache.
        head: file with weight and bias, or weight_norm, and counts, or a rectifier that is a whole
            head; None if the head is unknown, or of features alone yet to be fitted.
        weights: which of several networks in the head's file, by a key above it.
        scale: one of `names.SCALES`: probabilities become their logarithms, in memory. None takes
            logits, and refuses what looks like another, but for an array named `probabilities`.
        features: whether a matrix without a name, and the columns of a table, are features.
        shards: whether several files of a split are parts of its rows.
        rows: whether the network was trained on the train split, or its logits there are of models
            that were not, by folds; None, unknown, is later taken as seen.
        overwrite: replace an existing cache.

    Raises:
        DataError: a file is invalid, files contradict each other, or head and logits disagree;
            nothing is written.
        CacheError: the arrays are none that a cache holds, or it cannot be written.
    """
    output, head = Path(output), None if head is None else Path(head)
    files = {
        name: found
        if isinstance(found, SplitFiles)
        else SplitFiles(rows=tuple(map(Path, listed(found))))
        for name, found in given_files.items()
    }
    check_choice("scale", scale, (*names.SCALES, None))
    check_choice("rows", rows, (*names.FITTED_ROWS, None))
    given, record = ({}, {}) if head is None else read_head(head)
    where, known = str(head), None
    if "class_names" in given:
        known = as_strings(given["class_names"], where=f"{where}: class_names")
    checked = _checked_splits(
        files,
        scale=scale,
        class_names=known,
        num_classes=next((len(array) for array in given.values() if array.ndim), None),
        holds="features" if features else "logits",
        joint="rows" if shards else "columns",
    )
    splits = {name: checked[name].arrays for name in files}
    train = checked["train"]
    num_classes = train.num_classes
    warnings = [note for found in checked.values() for note in found.notes]
    has_logits = train.arrays.logits is not None
    if head is None and has_logits:
        given = {"weight_norm": np.ones(num_classes)}
        warnings.append("no head given: every weight norm is 1, and marr is vector scaling")
    elif head is not None and not {"weight", "weight_norm"} & set(given):
        found, chosen = network_head(
            head,
            num_classes=num_classes,
            num_features=None if train.arrays.features is None else train.arrays.features.shape[2],
            weights=weights,
        )
        given |= found
        warnings += chosen
    if "weight" in given and not has_logits:
        num_classes = len(given["weight"])  # of which the labels may lack the last
    built = build_head(given, num_classes=num_classes, where=where) if given else None
    _check_splits(files, checked, built, num_classes=num_classes)
    counts, notes = class_counts(
        given, splits["train"].labels, num_classes=num_classes, where=where
    )
    if built is not None and "log_prior" in given:
        built = replace(built, prior_counts=np.exp(given["log_prior"]) * counts.sum())
    if record and "log_prior" not in given:
        warnings.append(
            f"{where} does not say which prior its probabilities stand for: that of the training "
            "counts is taken, and logit adjustment takes it away again; if it is not so, give the "
            "head as .npz with weight, bias and prior_counts"
        )
    for name, arrays in splits.items():
        if built is not None:
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
            "head": None if built is None else built.fingerprint(),
            "class_counts": cache.digest(counts),
            "classes": class_names,
        },
        meta={
            "files": {
                **{name: _file_names(found.rows) for name, found in files.items()},
                "head": None if head is None else head.name,
            },
            **({"head": record} if record else {}),
            **({FEATURES: {"columns": train.columns}} if train.columns else {}),
            **({} if train.scale in (None, "logits") else {"scale": train.scale}),
            **({} if rows is None else {"rows": rows}),
        },
        creator=CREATOR,
        libraries=library_versions(),
    )
    cache.write_arrays(output, plan, splits, overwrite=overwrite)
    num_absent = int((counts == 0).sum())
    if head is None and has_logits and 2 * num_absent > num_classes:
        warnings.append(f"{num_absent} of {num_classes} columns have no row; {MAY_BE_FEATURES}")
    written = cache.open_cache(output)
    return ImportedCache(
        path=output,
        fingerprint=written.fingerprint,
        num_samples={name: len(arrays.labels) for name, arrays in splits.items()},
        has_head=built is not None,
        rows=rows,
        warnings=[*warnings, *notes, *map(str, last_look(written))],
    )


def _file_names(paths: Sequence[Path]) -> str | list[str]:
    return paths[0].name if len(paths) == 1 else [path.name for path in paths]


def _checked_splits(
    files: Mapping[str, SplitFiles],
    *,
    scale: str | None,
    class_names: Sequence[str] | None,
    num_classes: int | None,
    holds: Holds,
    joint: Joint,
) -> dict[str, CheckedSplit]:
    """Every split, `train` first: its labels name the classes of others, which may lack some.

    `num_classes` is K of the head, if it is known.
    """
    checked: dict[str, CheckedSplit] = {}
    for name in sorted(files, key=names.SPLITS.index):
        where = str(files[name])
        arrays, joined = read_split(name, files[name], holds=holds, joint=joint)
        found = split_arrays(
            arrays, where=where, scale=scale, class_names=class_names, num_classes=num_classes
        )
        if scale is not None and found.arrays.logits is None:
            raise DataError(
                f"{where}: logits or probabilities expected with --scale {scale}, got features "
                "alone; leave it out"
            )
        if name == "train" and class_names is None and arrays["labels"].dtype.kind == "U":
            _check_every_class_is_named(found, where=where)
        class_names = class_names or found.class_names
        num_classes = num_classes or found.num_classes
        checked[name] = replace(found, notes=[*joined, *found.notes])
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


def _check_splits(
    files: Mapping[str, SplitFiles],
    checked: Mapping[str, CheckedSplit],
    head: cache.Head | None,
    *,
    num_classes: int,
) -> None:
    """Refuse splits that are not of one model, or whose logits nothing makes."""
    train = checked["train"]
    for name, found in checked.items():
        where, logits = str(files[name]), found.arrays.logits
        if logits is not None and logits.shape[2] != num_classes:
            raise DataError(
                f"{where}: logits of {num_classes} classes expected, as in train, got "
                f"{logits.shape[2]}; give splits of one model"
            )
        if found.num_classes > num_classes:
            raise DataError(
                f"{where}: labels of the head's {num_classes} classes expected, got class "
                f"{found.num_classes - 1}; are head and labels of one class list?"
            )
        has_weight = head is not None and head.weight is not None
        if logits is None and not has_weight and head is not None:
            raise DataError(
                f"{where}: logits, or a --head with the weight that makes them of the features, "
                "expected, got features alone; give one of them"
            )
        if logits is not None and head is None:
            raise DataError(
                f"{where}: features alone expected, as in train, got logits; give them for train "
                "too, or leave them out"
            )
        if None not in (found.feature_names, train.feature_names) and (
            found.feature_names != train.feature_names
        ):
            raise DataError(
                f"{where}: the columns of features of train in their order expected, "
                f"{shown(train.feature_names or [])}, got {shown(found.feature_names or [])}; "
                "sort them so"
            )


def _class_names(
    stated: Mapping[str, Sequence[str] | None], *, num_classes: int
) -> Sequence[str] | None:
    """The one list of K class names that the files give, or None."""
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
            blocks = (
                rows[view, start:stop]
                for view in range(len(rows))
                for start, stop in cache.row_ranges(rows.shape[1], rows[0, :1].nbytes)
            )
            found[kind] = cache.digest_blocks(blocks, shape=rows.shape, dtype=dtype)
    if arrays.ids is not None:
        found["ids"] = cache.digest(np.array(arrays.ids))
    return found
