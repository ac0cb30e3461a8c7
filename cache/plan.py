"""What a cache will hold, checked before its first byte is written.

V views, N samples, K classes, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent
from marr_pipeline.cache.fingerprint import canonical_json
from marr_pipeline.cache.head import Head, head_fingerprint
from marr_pipeline.cache.schema import (
    LABEL_DTYPE,
    LOGIT_DTYPES,
    META_PARTS,
    SPLITS,
    VIEW_AUGMENTED,
    VIEW_CLEAN,
    VIEWS,
    split_dataset,
)


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """Rows and views of one split.

    Attributes:
        num_samples: N.
        views: V kinds of view, "clean" (at most one, and first) or "augmented".
        has_logits: whether logits are stored.
        num_features: D, or None if features are not stored.
        has_ids: whether each sample has an id.

    Raises:
        CacheError: nothing would be stored, or the views are not in order.
    """

    num_samples: int
    views: tuple[str, ...]
    has_logits: bool = True
    num_features: int | None = None
    has_ids: bool = False

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise CacheError(f"num_samples: at least 1 expected, got {self.num_samples}; add rows")
        check_views(self.views, where="views")
        if not self.has_logits and self.num_features is None:
            raise CacheError("split: logits or features expected, got neither; store one of them")
        if self.num_features is not None and self.num_features < 1:
            raise CacheError(
                f"num_features: at least 1 expected, got {self.num_features}; "
                "use None to store no features"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitArrays:
    """The rows of one split, in memory or mapped from a file.

    Attributes:
        logits: (V, N, K) floating, converted to the cache's type block by block when written; None
            for features alone.
        labels: (N,) int64, class ids.
        features: (V, N, D) floating, or None.
        ids: N strings or (N,) int64, or None.
        views: V kinds of view; None means all "augmented", as views of unknown origin are.
    """

    logits: npt.NDArray[np.floating] | None
    labels: npt.NDArray[np.int64]
    features: npt.NDArray[np.floating] | None = None
    ids: list[str] | npt.NDArray[np.int64] | None = None
    views: tuple[str, ...] | None = None

    @property
    def plan(self) -> SplitPlan:
        """Rows and views of these arrays."""
        rows = self.features if self.logits is None else self.logits
        num_views = 1 if rows is None else len(rows)
        return SplitPlan(
            num_samples=len(self.labels),
            views=self.views or (VIEW_AUGMENTED,) * num_views,
            has_logits=self.logits is not None,
            num_features=None if self.features is None else self.features.shape[2],
            has_ids=self.ids is not None,
        )


def check_views(views: Sequence[str], *, where: str) -> None:
    """Refuse views of an unknown kind or out of order.

    Raises:
        CacheError: no view, an unknown kind, or "clean" anywhere but first.
    """
    unknown = [view for view in views if view not in VIEWS]
    if not views or unknown or VIEW_CLEAN in views[1:]:
        raise CacheError(
            f"{where}: at most one {VIEW_CLEAN!r}, first, then {VIEW_AUGMENTED!r} expected, "
            f"got {list(views)}; name each view so"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class CachePlan:
    """Everything about a cache but its rows.

    Attributes:
        class_counts: (K,) integers, training images per class.
        head: the head that makes the logits; None for a cache of features alone.
        splits: rows and views of each split.
        dtype: how logits and features are stored.
        class_names: K names or None.
        parts: what the cache is made from: JSON values and digests, never paths or times; its
            fingerprint is computed from this.
        meta: JSON values, each stored as `/meta/<key>`.
        creator: program and version that writes.
        libraries: library name to version; h5py's and HDF5's are added.

    Raises:
        CacheError: two of them contradict each other.
    """

    class_counts: npt.NDArray[np.integer]
    head: Head | None
    splits: Mapping[str, SplitPlan]
    dtype: Literal["float32", "float16"] = "float32"
    class_names: Sequence[str] | None = None
    parts: Mapping[str, object]
    meta: Mapping[str, object]
    creator: str
    libraries: Mapping[str, str]

    def __post_init__(self) -> None:
        num_classes = np.size(self.class_counts) if self.head is None else self.head.num_classes
        check_class_counts(self.class_counts, num_classes, where="class_counts")
        if self.class_names is not None:
            check_strings(self.class_names, self.num_classes, where="class_names")
        if self.dtype not in LOGIT_DTYPES:
            raise CacheError(
                f"dtype: one of {', '.join(LOGIT_DTYPES)} expected, got {self.dtype!r}; choose one"
            )
        if not self.splits or not set(self.splits) <= set(SPLITS):
            raise CacheError(
                f"splits: some of {', '.join(SPLITS)} expected, got {list(self.splits)}; "
                "the name of a split is its role"
            )
        check_widths(
            self.head,
            {name: (split.has_logits, split.num_features) for name, split in self.splits.items()},
        )
        for key in self.meta:
            if not key or "/" in key or "\0" in key or key in (".", META_PARTS):
                raise CacheError(
                    f"meta: a key without '/' other than {META_PARTS!r} expected, got {key!r}; "
                    "rename it"
                )
        self.meta_documents()

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_counts)

    @property
    def head_fingerprint(self) -> str:
        """Of the head's planes, or of there being none."""
        widths = {split.num_features for split in self.splits.values()} - {None}
        return head_fingerprint(
            self.head, num_classes=self.num_classes, num_features=next(iter(widths), None)
        )

    def meta_documents(self) -> dict[str, str]:
        """Key to JSON text of everything under `/meta`."""
        documents = {META_PARTS: self.parts, **self.meta}
        return {key: canonical_json(value, where=key) for key, value in documents.items()}

    def row_arrays(self) -> dict[str, Extent]:
        """Path, shape and dtype of each dataset that rows are written to; offsets still 0."""
        arrays: dict[str, tuple[tuple[int, ...], str]] = {}
        for name, split in self.splits.items():
            rows: tuple[int, ...] = (split.num_samples,)
            arrays[split_dataset(name, "labels")] = rows, LABEL_DTYPE
            if len(split.views) > 1:
                rows = (len(split.views), *rows)
            if split.has_logits:
                shape = (*rows, self.num_classes)
                arrays[split_dataset(name, "logits")] = shape, LOGIT_DTYPES[self.dtype]
            if split.num_features is not None:
                shape = (*rows, split.num_features)
                arrays[split_dataset(name, "features")] = shape, LOGIT_DTYPES[self.dtype]
        return {
            path: Extent(offset=0, shape=shape, dtype=np.dtype(dtype))
            for path, (shape, dtype) in arrays.items()
        }

    @property
    def num_bytes(self) -> int:
        """Bytes of all rows; strings, the head and HDF5's own records come on top."""
        return sum(extent.num_bytes for extent in self.row_arrays().values())


def check_widths(head: Head | None, splits: Mapping[str, tuple[bool, int | None]]) -> None:
    """Refuse features of a width that the head does not take, or logits that no head has made.

    Args:
        head: None for a cache of features alone.
        splits: by name, whether there are logits, and D of the features, None if there are none.

    Raises:
        CacheError: it names the split.
    """
    if head is not None:
        for name, (_, width) in splits.items():
            if None not in (width, head.num_features) and width != head.num_features:
                raise CacheError(
                    f"{name}: features as wide as the head's weight ({head.num_features}) "
                    f"expected, got {width}; give the input of the head"
                )
        return
    first, (_, expected) = next(iter(splits.items()))
    for name, (has_logits, width) in splits.items():
        if has_logits or width is None:
            raise CacheError(
                f"{name}: features alone expected without a head, got logits; give the head, or "
                "norms of 1 for one that is unknown"
            )
        if width != expected:
            raise CacheError(
                f"{name}: features as wide as those of {first} ({expected}) expected, got {width}; "
                "give splits of one backbone"
            )


def check_class_counts(
    class_counts: npt.NDArray[np.integer], num_classes: int, *, where: str
) -> None:
    """Refuse anything but K counts.

    Raises:
        CacheError: wrong shape, not integers, a negative count, or zeros alone.
    """
    num_classes = max(num_classes, 1)
    if class_counts.shape != (num_classes,) or class_counts.dtype.kind not in "iu":
        raise CacheError(
            f"{where}: ({num_classes},) integers expected, got {class_counts.shape} "
            f"{class_counts.dtype}; are head and data of the same model?"
        )
    if class_counts.min() < 0:
        raise CacheError(
            f"{where}: at least 0 expected, got {class_counts.min()} for class "
            f"{class_counts.argmin()}; count the training samples of each class"
        )
    if not class_counts.any():
        raise CacheError(
            f"{where}: training samples of at least one class expected, got zeros alone; count "
            "those of each class"
        )


def check_strings(strings: Sequence[str], count: int, *, where: str) -> None:
    """Refuse strings that the file cannot hold.

    Raises:
        CacheError: wrong number of them, NUL inside one, or no valid Unicode.
    """
    if len(strings) != count:
        raise CacheError(f"{where}: {count} strings expected, got {len(strings)}; give one each")
    for index, string in enumerate(strings):
        # The second half is true of file names that the system could not decode.
        if "\0" in string or any("\ud800" <= char <= "\udfff" for char in string):
            raise CacheError(
                f"{where}: valid Unicode without NUL expected, got {string!a} at {index}; rename it"
            )


def check_labels(
    labels: npt.NDArray[np.int64], num_classes: int, *, where: str
) -> npt.NDArray[np.int64]:
    """The labels (N,), if all lie in 0..K-1.

    Raises:
        CacheError: one does not; it names the first.
    """
    is_outside = (labels < 0) | (labels >= num_classes)
    if is_outside.any():
        row = int(is_outside.argmax())
        counts_from_one = labels.min() == 1 and labels.max() == num_classes
        advice = (
            "they seem to count from 1: subtract 1"
            if counts_from_one
            else "do logits and labels use the same class list?"
        )
        raise CacheError(
            f"{where}: class ids in 0..{num_classes - 1} expected, got {labels[row]} in row {row}; "
            f"{advice}"
        )
    return labels
