"""Which features rows hold: their network, or the names of their columns, if either is known.

Features of two networks may be as wide as each other, and the columns of two tables in another
order; a rectifier that was fitted on one takes the other without an error, and every result is
wrong. So what tells them apart is kept in the cache and in the rectifier, under `features`.

D features.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError
from marr_pipeline.labels import shown
from marr_pipeline.rectify.rectifier import Rectifier

if TYPE_CHECKING:
    from marr_pipeline.cache import Cache

FEATURES = "features"
"""Key of a cache's document, and of a rectifier's metadata."""


def features_of(cached: "Cache") -> dict[str, Any]:
    """What tells the features of a cache from others of their width.

    `backbone` and `weights`, a digest of all its layers below the head, of one that `extract`
    wrote; `columns`, D names, of a table that was imported; nothing of other arrays.
    """
    weights = cached.parts.get("weights")
    if isinstance(weights, dict):
        below = {name: value for name, value in weights.items() if not name.startswith("head.")}
        text = json.dumps(below, sort_keys=True)
        config = cached.meta("config")
        assert isinstance(config, dict)
        return {
            "backbone": config["backbone"],
            "weights": hashlib.sha256(text.encode()).hexdigest(),
        }
    found = cached.meta(FEATURES) if FEATURES in cached.documents else {}
    assert isinstance(found, dict)
    return found


def check_features(rectifier: Rectifier, cached: "Cache", *, where: str) -> None:
    """Refuse a rectifier of other features than a cache's, as far as both are known.

    Args:
        rectifier: that takes features, or none.
        cached: that has some, or none.
        where: how the error names the rectifier.

    Raises:
        DataError: their networks or columns differ.
    """
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
