"""Arrays of others joined into a cache: rows of each split, and the head if it is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from marr_pipeline import cache
from marr_pipeline.errors import DataError
from marr_pipeline.workflows.creator import CREATOR, library_versions
from marr_pipeline.workflows.head_file import build_head, class_counts, read_head
from marr_pipeline.workflows.tensor_files import read_tensors

_TENSOR_SUFFIXES = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """Where the rows of one split are.

    Attributes:
        rows: `.npz`, `.csv`, `.safetensors`, `.pt` or `.pth` with logits and labels, or `.npy`
            with the logits alone.
        labels: `.npy` with the labels, beside an `.npy` of logits.
    """

    rows: Path
    labels: Path | None = None

    def __str__(self) -> str:
        return str(self.rows) if self.labels is None else f"{self.rows}, {self.labels}"


def import_arrays(
    files: Mapping[str, SplitFiles], head_file: Path | None, output: Path, *, overwrite: bool
) -> list[str]:
    """Write a cache; returns what a user should know of the result.

    Logits and features are stored as float16 if all of them are, else as float32.

    Args:
        files: by split name; `train` is among them.
        head_file: weight and bias, or weight_norm, and counts; None if the head is unknown.
        output: the cache.
        overwrite: replace an existing one.

    Raises:
        CacheError: a file is invalid, or head and logits disagree; nothing is written.
        DataError: a file of tensors cannot be read, or files contradict each other.
    """
    raw = {name: read_split(name, found) for name, found in files.items()}
    splits = {
        name: cache.split_arrays(arrays, where=str(files[name])) for name, arrays in raw.items()
    }
    num_classes = splits["train"].logits.shape[2]
    for name, arrays in splits.items():
        if arrays.logits.shape[2] != num_classes:
            raise DataError(
                f"{files[name]}: logits of {num_classes} classes expected, as in train, got "
                f"{arrays.logits.shape[2]}; give splits of one model"
            )
    warnings = []
    if head_file is None:
        given = {"weight_norm": np.ones(num_classes)}
        warnings.append("no head given: every weight norm is 1, and marr is vector scaling")
    else:
        given = read_head(head_file)
    where = str(head_file)
    head = build_head(given, num_classes=num_classes, where=where)
    counts, notes = class_counts(
        given, splits["train"].labels, num_classes=num_classes, where=where
    )
    for name, arrays in splits.items():
        cache.check_head_makes_logits(head, arrays, where=f"{files[name]}, {head_file}")
    names = _class_names(
        [(where, given), *((str(files[name]), raw[name]) for name in raw)], num_classes=num_classes
    )
    dtype = _stored_dtype(splits)
    cache.write_arrays(
        output,
        class_counts=counts,
        head=head,
        splits=splits,
        dtype=dtype,
        class_names=names,
        parts={
            "splits": {name: _digests(arrays, dtype) for name, arrays in splits.items()},
            "head": head.fingerprint(),
            "class_counts": cache.digest(counts),
            "classes": names,
        },
        meta={
            "files": {
                **{name: found.rows.name for name, found in files.items()},
                "head": None if head_file is None else head_file.name,
            }
        },
        creator=CREATOR,
        libraries=library_versions(),
        overwrite=overwrite,
    )
    absent = int((counts == 0).sum())
    if absent:
        warnings.append(f"{absent} of {num_classes} classes have no training image")
    return warnings + notes


def read_split(name: str, files: SplitFiles) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a split's files, by name and unchecked.

    In the single file of `pipeline export-npz` they carry the split's name, `train/logits`.

    Raises:
        CacheError: a file is not of its kind or damaged.
        DataError: a file of tensors that cannot be read, or a file of no known kind.
    """
    suffix = files.rows.suffix
    if suffix == ".npy" and files.labels is not None:
        return {"logits": cache.map_npy(files.rows), "labels": cache.map_npy(files.labels)}
    if suffix == ".csv":
        return cache.read_csv(files.rows)
    if suffix == ".npz":
        arrays = cache.read_npz(files.rows)
    elif suffix in _TENSOR_SUFFIXES:
        arrays = read_tensors(files.rows)
    else:
        raise DataError(
            f"{files.rows}: logits and labels as .npz, .csv, {', '.join(_TENSOR_SUFFIXES)} or a "
            f"pair of .npy expected, got '{suffix}'; save them so"
        )
    if "logits" in arrays:
        return arrays
    prefix = f"{name}/"
    own = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
    return own or arrays


def read_logits(path: Path) -> dict[str, npt.NDArray[Any]]:
    """`logits` (..., K) of an `.npz`, with `labels`, `ids` and `features` where they are there.

    Raises:
        CacheError: not an `.npz`, damaged, or it holds objects.
        DataError: no logits in it, or logits that are not finite numbers, or features of others.
    """
    found = cache.read_npz(path)
    wanted = ("logits", "labels", "ids", "features")
    arrays = {name: found[name] for name in found if name in wanted}
    logits = arrays.get("logits")
    if logits is None or logits.ndim < 2 or logits.dtype.kind != "f" or not logits.size:
        got = "none" if logits is None else f"{logits.shape} {logits.dtype}"
        raise DataError(f"{path}: floating-point 'logits' (N, K) expected, got {got}")
    if not np.isfinite(logits).all():
        row = np.argwhere(~np.isfinite(logits))[0].tolist()
        raise DataError(f"{path}: finite logits expected, got {logits[tuple(row)]} at {row}")
    features = arrays.get("features")
    if features is not None and features.shape[:-1] != logits.shape[:-1]:
        raise DataError(
            f"{path}: features of the rows of logits {logits.shape} expected, got {features.shape}"
        )
    return arrays


def _class_names(
    sources: Sequence[tuple[str, Mapping[str, npt.NDArray[Any]]]], *, num_classes: int
) -> list[str] | None:
    """The one list of K class names that the files give, or None.

    Raises:
        CacheError: no strings.
        DataError: another number of them, or two files disagree.
    """
    found = [
        (where, cache.as_strings(arrays["class_names"], where=f"{where}: class_names"))
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
