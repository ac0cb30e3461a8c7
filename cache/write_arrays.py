"""Whole arrays written as a cache.

V views, N samples, K classes, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.blocks import row_ranges
from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.head import Head
from marr_pipeline.cache.plan import SplitPlan
from marr_pipeline.cache.schema import VIEW_AUGMENTED
from marr_pipeline.cache.write import CacheWriter


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitArrays:
    """The rows of one split, in memory or mapped from a file.

    Attributes:
        logits: (V, N, K) floating, converted to the cache's type block by block when written.
        labels: (N,) int64, class ids.
        features: (V, N, D) floating, or None.
        ids: N strings or (N,) int64, or None.
        views: V kinds of view; None means all "augmented", as views of unknown origin are.
    """

    logits: npt.NDArray[np.floating]
    labels: npt.NDArray[np.int64]
    features: npt.NDArray[np.floating] | None = None
    ids: list[str] | npt.NDArray[np.int64] | None = None
    views: tuple[str, ...] | None = None


def write_arrays(
    path: Path,
    *,
    class_counts: npt.NDArray[np.integer],
    head: Head,
    splits: Mapping[str, SplitArrays],
    dtype: Literal["float32", "float16"] = "float32",
    class_names: Sequence[str] | None = None,
    parts: Mapping[str, object],
    meta: Mapping[str, object],
    creator: str,
    libraries: Mapping[str, str],
    overwrite: bool = False,
) -> None:
    """Write whole arrays as a cache; all but `splits` as for `CacheWriter`.

    Raises:
        CacheError: the arrays contradict each other or the head.
        CacheWriteError: the file cannot be written.
    """
    plans = {name: _plan_of(arrays, where=f"{path}: {name}") for name, arrays in splits.items()}
    with CacheWriter(
        path,
        class_counts=class_counts,
        head=head,
        splits=plans,
        dtype=dtype,
        class_names=class_names,
        parts=parts,
        meta=meta,
        creator=creator,
        libraries=libraries,
        overwrite=overwrite,
    ) as writer:
        for name, arrays in splits.items():
            writer.write_labels(name, arrays.labels)
            if arrays.ids is not None:
                writer.write_ids(name, arrays.ids)
            for view, logits in enumerate(arrays.logits):
                features = None if arrays.features is None else arrays.features[view]
                for start, stop in row_ranges(len(logits), logits[0].nbytes):
                    writer.write_block(
                        name,
                        view=view,
                        start=start,
                        logits=logits[start:stop],
                        features=None if features is None else features[start:stop],
                    )


def _plan_of(arrays: SplitArrays, *, where: str) -> SplitPlan:
    if arrays.logits.ndim != 3:
        raise CacheError(
            f"{where}: logits (V, N, K) expected, got {arrays.logits.shape}; add the axis of views"
        )
    num_views, num_samples, _ = arrays.logits.shape
    if arrays.features is not None and arrays.features.shape[:2] != (num_views, num_samples):
        raise CacheError(
            f"{where}: features ({num_views}, {num_samples}, D) expected, "
            f"got {arrays.features.shape}; give them for every row of the logits"
        )
    views = arrays.views or (VIEW_AUGMENTED,) * num_views
    if len(views) != num_views:
        raise CacheError(
            f"{where}: {num_views} names of views expected, got {len(views)}; name each view"
        )
    return SplitPlan(
        num_samples=num_samples,
        views=views,
        num_features=None if arrays.features is None else arrays.features.shape[2],
        has_ids=arrays.ids is not None,
    )
