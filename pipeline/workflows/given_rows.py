"""The rows that `apply` is given: a cache's split, or files of others.

V views, N rows, K classes, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.cache import Cache, CachedSplit, open_cache
from marr_pipeline.errors import DataError
from marr_pipeline.labels import shown
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier
from marr_pipeline.rectify.rectifier_file import load_rectifier
from marr_pipeline.workflows.arrays.columns import Holds
from marr_pipeline.workflows.arrays.parts import SplitFiles, read_split
from marr_pipeline.workflows.arrays.rows import as_strings, named_scores, passed_on, unlabelled_rows
from marr_pipeline.workflows.scored_rows import evaluation_rows
from marr_pipeline.workflows.suited import columns_for, rectifier_for

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class GivenRows:
    """Rows to rectify, and what is passed on of them.

    Attributes:
        rectifier: that suits them.
        logits: (N, K) or (V, N, K); of no column where a whole head makes them.
        features: (N, D) or (V, N, D), in the rectifier's order, if there are some.
        kept: `labels` and `ids`, (N,) each, as far as they are known.
        class_names: K of them, if they are known.
        class_counts: (K,) of the training list, if they are known.
        warnings: what of them needs a look.
        cached: the cache and its split that they are of, if it is one.
    """

    rectifier: Rectifier
    logits: Tensor
    features: Tensor | None
    kept: Arrays
    class_names: list[str] | None
    class_counts: npt.NDArray[np.int64] | None
    warnings: list[str]
    cached: tuple[Cache, CachedSplit] | None = None

    @property
    def has_class_labels(self) -> bool:
        """Whether there are labels, and each is a class by its place or its name."""
        names, labels = self.class_names, self.kept.get("labels")
        return names is not None and labels is not None and not _of_no_class(labels, names)

    @property
    def num_rows(self) -> int:
        """N."""
        return self.logits.shape[-2]


def file_rows(files: Sequence[Path], path: Path, *, split: str, scale: str | None) -> GivenRows:
    """Those of a file, or of several whose features are side by side.

    Args:
        files: as `import` reads them, labelled or not.
        path: of the rectifier.
        split: which one, in a file of several.
        scale: of logits, see `import_logits`; None for what the rectifier was fitted on.

    Raises:
        DataError: the rectifier is invalid, or of other classes or features; the rows are unfit.
        ConfigError: the library that a file needs is not installed.
    """
    rectifier, source = load_rectifier(path), SplitFiles(rows=tuple(files))
    # A whole head drops old logits, so a matrix alone is one of features.
    holds: Holds = "features" if isinstance(rectifier, HeadRectifier) else "logits"
    fitted_on = rectifier.metadata.get("scores", "logits")
    read, notes = read_split(split, source, holds=holds, is_labelled=False)
    given, scale = named_scores(read, scale)
    if scale is None and fitted_on != "logits":
        scale = fitted_on
    kind = "features" if holds == "features" and "logits" not in given else "logits"
    views, warnings = unlabelled_rows(given, kind=kind, where=str(source), scale=scale)
    warnings = [*notes, *warnings]
    kept = passed_on(given, views, where=str(source))
    # Torch takes no memory that may not be written, as that of a mapped file.
    has_views = len(views) > 1 or (given[kind].ndim == 3 and len(files) == 1)
    rows = np.require(views if has_views else views[0], requirements=["C", "W"])
    features = given.get("features")
    if features is not None:
        columns = None
        if "feature_names" in given and len(given["feature_names"]) == features.shape[-1]:
            columns = as_strings(given["feature_names"], where=f"{source}: feature_names")
        features, told = columns_for(
            rectifier, rows if kind == "features" else features, columns, where=str(source)
        )
        warnings += told
    logits = torch.from_numpy(rows)
    if kind == "features":
        logits = logits[..., :0]
    if features is not None and features.shape[:-1] != tuple(logits.shape[:-1]):
        raise DataError(
            f"{source}: features of the rows of logits {tuple(logits.shape)} expected, got "
            f"{features.shape}"
        )
    if kind == "logits" and logits.shape[-1] != rectifier.num_classes:
        raise DataError(
            f"{source}: logits of {rectifier.num_classes} classes expected, as in {path}, "
            f"got {logits.shape[-1]}"
        )
    if (fitted_on == "logits") != (scale in (None, "logits")) and bool(rectifier.scale.std() > 0):
        warnings.append(
            f"{path} was fitted on {fitted_on}, and scales each class by itself: other results on "
            f"{scale or 'logits'} are to be expected; fit and apply on one kind of scores"
        )
    fitted, counts = (rectifier.metadata.get(key) for key in ("class_names", "class_counts"))
    named = None
    if "class_names" in given:
        named = as_strings(given["class_names"], where=f"{source}: class_names")
    if named is not None and fitted is not None and named != fitted:
        raise DataError(
            f"{source}: the classes of {path} in its order expected, {shown(fitted)}, got "
            f"{shown(named)}; sort the columns so"
        )
    names = named or fitted
    if (
        names is not None
        and "labels" in kept
        and len(unknown := _of_no_class(kept["labels"], names))
    ):
        warnings.append(
            f"{source}: {shown(unknown)} among the labels are no classes of {path}; labels stay as "
            "they were given"
        )
    return GivenRows(
        rectifier=rectifier,
        logits=logits,
        features=None if features is None else torch.from_numpy(features),
        kept=kept,
        class_names=names,
        class_counts=None if counts is None else np.array(counts),
        warnings=warnings,
    )


def _of_no_class(labels: npt.NDArray[Any], names: Sequence[str]) -> list[Any]:
    """Labels that are neither places nor names of the classes."""
    known = set(range(len(names))) if labels.dtype.kind in "iu" else set(names)
    return [label for label in np.unique(labels).tolist() if label not in known]


def cached_rows(source: Path, path: Path, *, split: str, any_head: bool) -> GivenRows:
    """Those of a cache's split, in its clean view.

    Raises:
        CacheError: no such cache or split.
        DataError: the rectifier is invalid, or of another head or other features.
    """
    cached = open_cache(source)
    rectifier = rectifier_for(cached, path, any_head=any_head)
    rows, ids = evaluation_rows(cached, split), cached.split(split).ids
    kept = {"labels": rows.labels.numpy()}
    if ids is not None:
        kept["ids"] = np.asarray(ids)
    return GivenRows(
        rectifier=rectifier,
        logits=rows.logits,
        features=rows.features,
        kept=kept,
        class_names=None if cached.class_names is None else list(cached.class_names),
        class_counts=cached.class_counts,
        warnings=[],
        cached=(cached, cached.split(split)),
    )
