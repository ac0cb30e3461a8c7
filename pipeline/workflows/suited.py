"""Rectifier files that suit a cache, or rows of others: of the same classes, head and features.

Features of two networks may be as wide as each other, and the columns of two tables in another
order; a rectifier that was fitted on one takes the other without an error, and every result is
wrong. So what tells them apart, their network or the names of their columns, is kept in the cache
and in the rectifier, under `features`.

K classes, D features.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.files import FileName
from marr_pipeline.labels import shown
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier
from marr_pipeline.rectify.rectifier_file import is_rectifier, load_rectifier

if TYPE_CHECKING:
    from marr_pipeline.cache import Cache

FEATURES = "features"
"""Key of a cache's document, and of a rectifier's metadata."""


def caches_and_rectifiers(files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Files told apart by what is in them; one that is neither counts as its suffix says."""
    found: tuple[list[Path], list[Path]] = ([], [])
    for file in files:
        found[file.suffix == ".safetensors" or is_rectifier(file)].append(file)
    return found


def rectifiers_for(
    cached: "Cache",
    files: Iterable[FileName],
    *,
    taken: Collection[str] = (),
    any_head: bool = False,
) -> dict[str, Rectifier]:
    """`rectifier_for` of several files, by their stems.

    Args:
        cached: the cache.
        files: of rectifiers.
        taken: stems that mean something else.
        any_head: see `rectifier_for`.

    Raises:
        ConfigError: a stem that is taken, by another file too.
    """
    found: dict[str, Rectifier] = {}
    for file in map(Path, files):
        if file.stem in found or file.stem in taken:
            raise ConfigError(f"{file}: a file stem of its own expected, got a second {file.stem}")
        found[file.stem] = rectifier_for(cached, file, any_head=any_head)
    return found


def rectifier_for(cached: "Cache", path: Path, *, any_head: bool = False) -> Rectifier:
    """A rectifier file that fits this cache's head, or with `any_head` one of its shape.

    Raises:
        DataError: not a rectifier, or one of another head.
    """
    rectifier = load_rectifier(path)
    if rectifier.num_classes != cached.num_classes:
        raise DataError(
            f"{path}: a rectifier of {cached.num_classes} classes expected, as in {cached.path}, "
            f"got {rectifier.num_classes}; fit one on this cache"
        )
    width = cached.num_features or (cached.head and cached.head.num_features)
    if rectifier.num_features is not None and width not in (None, rectifier.num_features):
        raise DataError(
            f"{path}: a rectifier of {width} features expected, as {cached.path} has, got one of "
            f"{rectifier.num_features}; fit one on this cache"
        )
    if any_head:
        return rectifier
    head = rectifier.metadata.get("head_fingerprint")
    if head != cached.head_fingerprint and not _is_of_stacked(rectifier, cached):
        raise DataError(
            f"{path}: a rectifier of this cache's head {cached.head_fingerprint[:12]} expected, "
            f"got one of {str(head)[:12]}; fit one on {cached.path}, or use --any-head"
        )
    _check_features(rectifier, cached, where=str(path))
    return rectifier


def _is_of_stacked(rectifier: Rectifier, cached: "Cache") -> bool:
    """Whether a whole head, which takes no logits, was fitted where the cache's own head was."""
    stacked = cached.meta("head") if "head" in cached.documents else None
    head = rectifier.metadata.get("head_fingerprint")
    return (
        isinstance(rectifier, HeadRectifier)
        and isinstance(stacked, dict)
        and head is not None
        and head == stacked.get("head_fingerprint")
    )


def features_of(cached: "Cache") -> dict[str, Any]:
    """What tells the features of a cache from others of their width.

    `backbone` and `weights`, a digest of all its layers below the head, of one that `extract`
    wrote; `columns`, D names, of a table that was imported; nothing of other arrays.
    """
    weights = cached.parts.get("weights")
    if isinstance(weights, dict):
        below = {name: value for name, value in weights.items() if not name.startswith("head.")}
        text = json.dumps(below, sort_keys=True)
        config = cached.record("config")
        return {
            "backbone": config["backbone"],
            "weights": hashlib.sha256(text.encode()).hexdigest(),
        }
    return cached.record(FEATURES) if FEATURES in cached.documents else {}


def _check_features(rectifier: Rectifier, cached: "Cache", *, where: str) -> None:
    """Refuse a rectifier of other features than a cache's, as far as both are known."""
    if rectifier.num_features is None:
        return
    fitted, own = rectifier.metadata.get(FEATURES, {}), features_of(cached)
    if any(
        fitted[key] != own[key]
        for key in ("weights", "columns")
        if {key} <= fitted.keys() & own.keys()
    ):
        raise DataError(
            f"{where}: a rectifier of the features of {cached.path} ({_described(own)}) expected, "
            f"got one of others ({_described(fitted)}); fit one on this cache, or use --any-head"
        )


def columns_for(
    rectifier: Rectifier,
    features: npt.NDArray[np.floating],
    names: Sequence[str] | None,
    *,
    where: str,
) -> tuple[npt.NDArray[np.floating], list[str]]:
    """The columns that a rectifier was fitted on, in its order, and what was moved or left out.

    Args:
        rectifier: that takes features, or none.
        features: (..., W).
        names: W of them, or None.
        where: how an error names the rows.

    Raises:
        DataError: a column is missing, or names that do not tell columns apart are others.
    """
    wanted = rectifier.metadata.get(FEATURES, {}).get("columns")
    if rectifier.num_features is None or wanted is None or names is None or names == wanted:
        return features, []
    place = {name: index for index, name in enumerate(names)}
    missing = [name for name in wanted if name not in place]
    if missing or len(place) < len(names) or len(set(wanted)) < len(wanted):
        raise DataError(
            f"{where}: columns of the features that the rectifier was fitted on, {shown(wanted)}, "
            f"expected, got {shown(names)}"
            f"{f', without {shown(missing)}' if missing else ''}; name them so"
        )
    told, others = [], [name for name in names if name not in set(wanted)]
    if others:
        told.append(f"{where}: no features of the rectifier, and left out: {shown(others)}")
    if [name for name in names if name not in set(others)] != wanted:
        told.append(f"{where}: columns of features were put into the rectifier's order by name")
    return np.ascontiguousarray(features[..., [place[name] for name in wanted]]), told


def _described(found: dict[str, Any]) -> str:
    if "backbone" in found:
        return f"{found['backbone']}, weights {found['weights'][:12]}"
    return shown(found.get("columns", [])) or "unknown"
