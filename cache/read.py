"""Read a cache: its header is checked, its arrays are mapped, nothing is copied.

V views, N samples, K classes, D features. No HDF5 handle survives `open_cache`, so a cache may be
handed to other processes: forked ones share the mapping, spawned ones get the path and map the file
anew, never a copy of its rows. Names, ids and documents are read when asked for. Rows are NumPy
arrays, so rows in any order (`split.logits[view, rows]`) cost one gather and no HDF5 call.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import map_file
from marr_pipeline.cache.fingerprint import fingerprint, require_same
from marr_pipeline.cache.head import Head
from marr_pipeline.cache.mapped import MappedFile, Source, parse_document, read_strings
from marr_pipeline.cache.opening import opened
from marr_pipeline.cache.plan import check_class_counts, check_labels, check_views
from marr_pipeline.cache.schema import (
    CLASS_COUNTS,
    CLASS_NAMES,
    HEAD,
    META,
    META_PARTS,
    SPLITS,
    SPLITS_GROUP,
    VIEW_CLEAN,
    split_dataset,
    text,
)

_HEAD_TYPES: tuple[type[np.floating], ...] = (np.float32, np.float64)
_ROW_TYPES: tuple[type[np.floating], ...] = (np.float32, np.float16)

ViewKind = Literal["augmented", "clean", "all"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """The rows of one split, mapped from the file.

    Attributes:
        name: "train", "tune" or "test".
        views: V kinds of view, "clean" or "augmented".
        labels: (N,) int64.
        logits: (V, N, K) float32 or float16, or None if not stored. A private mapping: what is
            written to it never reaches the file.
        features: (V, N, D) likewise.
    """

    name: str
    views: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.floating] | None
    features: npt.NDArray[np.floating] | None
    source: Source
    mapped_ids: npt.NDArray[np.int64] | None

    def __reduce__(self) -> "tuple[Callable[[Source, str], Split], tuple[Source, str]]":
        return _split_again, (self.source, self.name)

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.labels)

    @cached_property
    def ids(self) -> list[str] | npt.NDArray[np.int64] | None:
        """One id for each row: N strings, (N,) int64, or None if not stored."""
        if self.mapped_ids is not None:
            return self.mapped_ids
        return self.source.strings(split_dataset(self.name, "ids"))

    @property
    def clean_view(self) -> int:
        """Index of the clean view; without one 0, the first of the imported views."""
        return self.views.index(VIEW_CLEAN) if VIEW_CLEAN in self.views else 0

    def view_indices(self, kind: ViewKind) -> list[int]:
        """Indices of the views of a kind; empty if there are none."""
        return [index for index, view in enumerate(self.views) if kind in ("all", view)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cache:
    """What one file holds.

    Attributes:
        path: the file.
        class_counts: (K,) int64, training images per class.
        head: the head that made the logits.
        fingerprint: of `parts`.
        head_fingerprint: of the head's planes; a rectifier serves caches that share it.
        parts: what the cache was made from.
        attributes: creator, created_utc, library versions and the other root attributes.
        meta_keys: keys of the documents that `meta` reads.
        splits: by name, in the order train, tune, test.
    """

    path: Path
    class_counts: npt.NDArray[np.int64]
    head: Head
    fingerprint: str
    head_fingerprint: str
    parts: Mapping[str, object]
    attributes: Mapping[str, str]
    meta_keys: tuple[str, ...]
    splits: Mapping[str, Split]
    source: Source

    def __reduce__(self) -> "tuple[Callable[[Source], Cache], tuple[Source]]":
        return _cache_again, (self.source,)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_counts)

    @property
    def split_names(self) -> tuple[str, ...]:
        """Names of the splits it has."""
        return tuple(self.splits)

    @cached_property
    def class_names(self) -> list[str] | None:
        """K names, or None if not stored."""
        return self.source.strings(CLASS_NAMES)

    def split(self, name: str) -> Split:
        """The split of that name.

        Raises:
            CacheError: there is none; it names those there are.
        """
        if name not in self.splits:
            raise CacheError(
                f"{self.path}: has no split {name!r}; it has {', '.join(self.splits)}; "
                "choose one of them or write the cache with that split"
            )
        return self.splits[name]

    def meta(self, key: str) -> object:
        """The document stored under a key, parsed.

        Raises:
            CacheError: there is none; it names those there are.
        """
        documents = self.source.strings(f"{META}/{key}") if key in self.meta_keys else None
        if not documents:
            raise CacheError(
                f"{self.path}: has no document {key!r}; "
                f"it has {', '.join(self.meta_keys) or 'none'}; write the cache again to add it"
            )
        return parse_document(documents[0], where=f"{self.path}: {META}/{key}")

    def require_parts(self, parts: Mapping[str, object]) -> None:
        """Refuse this cache if it was made from anything else than `parts`.

        Raises:
            StaleCacheError: it was; the differences are named.
        """
        require_same(self.parts, parts, where=str(self.path))


def open_cache(path: Path) -> Cache:
    """Open a cache in milliseconds; checksums are left to `verify_cache`.

    Raises:
        CacheError: not a cache, of a newer version, unfinished, truncated, or it contradicts
            itself.
    """
    with opened(path) as file:
        source = Source.of(file, path)
        mapped = MappedFile(file=file, mapping=map_file(file))
        attributes = {name: text(value) for name, value in file.attrs.items()}
        head = _read_head(mapped)
        class_counts = mapped.array(CLASS_COUNTS, types=[np.int64])
        parts = _read_parts(file, attributes)
        names = list(file.get(SPLITS_GROUP, ()))
        if not names or not set(names) <= set(SPLITS):
            raise CacheError(
                f"{path}: splits named {', '.join(SPLITS)} expected, "
                f"got {', '.join(names) or 'none'}; write the cache again"
            )
        check_class_counts(class_counts, head.num_classes, where=f"{path}: /{CLASS_COUNTS}")
        return Cache(
            path=path,
            class_counts=class_counts,
            head=head,
            fingerprint=attributes["fingerprint"],
            head_fingerprint=attributes["head_fingerprint"],
            parts=parts,
            attributes=attributes,
            meta_keys=tuple(key for key in file[META] if key != META_PARTS),
            splits={
                name: _read_split(mapped, name, head, source) for name in SPLITS if name in names
            },
            source=source,
        )


def _cache_again(source: Source) -> Cache:
    """The cache in another process.

    Raises:
        CacheError: the file has been replaced since it was opened.
    """
    cache = open_cache(source.path)
    cache.source.require(source)
    return cache


def _split_again(source: Source, name: str) -> Split:
    return _cache_again(source).split(name)


def _read_parts(file: h5py.File, attributes: Mapping[str, str]) -> Mapping[str, object]:
    where = f"{file.filename}: /{META}/{META_PARTS}"
    parts = parse_document(read_strings(file, f"{META}/{META_PARTS}")[0], where=where)
    if not isinstance(parts, dict) or fingerprint(parts) != attributes["fingerprint"]:
        raise CacheError(
            f"{where}: what the fingerprint was computed from expected, got something else; "
            "the file is damaged: run `pipeline verify`, then write or copy it again"
        )
    return parts


def _read_head(mapped: MappedFile) -> Head:
    weight_norm = mapped.array(f"{HEAD}/weight_norm", types=[np.float64])
    try:
        return Head(
            weight_norm=weight_norm,
            weight=mapped.optional(f"{HEAD}/weight", types=_HEAD_TYPES, ndims=(2,)),
            bias=mapped.optional(f"{HEAD}/bias", types=_HEAD_TYPES),
            prior_counts=mapped.optional(f"{HEAD}/prior_counts", types=[np.float64]),
        )
    except CacheError as error:
        raise CacheError(f"{mapped.file.filename}: {error}") from error


def _read_split(mapped: MappedFile, name: str, head: Head, source: Source) -> Split:
    where = f"{source.path}: {name}"
    labels = mapped.array(split_dataset(name, "labels"), types=[np.int64])
    check_labels(labels, head.num_classes, where=f"{where}, labels")
    logits, logit_views = _read_rows(mapped, split_dataset(name, "logits"))
    features, feature_views = _read_rows(mapped, split_dataset(name, "features"))
    views = logit_views or feature_views
    if views is None or (logit_views and feature_views and logit_views != feature_views):
        raise CacheError(
            f"{where}: logits, features or both with the same views expected, "
            f"got {logit_views} and {feature_views}; write the cache again"
        )
    widths = {"logits": (logits, head.num_classes), "features": (features, head.num_features)}
    for kind, (rows, width) in widths.items():
        if rows is None:
            continue
        expected = (len(views), len(labels), width or rows.shape[2])
        if rows.shape != expected:
            raise CacheError(
                f"{where}, {kind}: shape {expected} by its views, its labels and the head "
                f"expected, got {rows.shape}; write the cache again"
            )
    return Split(
        name=name,
        views=views,
        labels=labels,
        logits=logits,
        features=features,
        source=source,
        mapped_ids=_read_integer_ids(mapped, split_dataset(name, "ids"), len(labels)),
    )


def _read_rows(
    mapped: MappedFile, name: str
) -> tuple[npt.NDArray[np.floating] | None, tuple[str, ...] | None]:
    """Rows (V, N, W) of a dataset and the kinds of its views; two None if there is none."""
    rows = mapped.optional(name, types=_ROW_TYPES, ndims=(2, 3))
    if rows is None:
        return None, None
    views = tuple(text(view) for view in mapped.file[name].attrs.get("views", ()))
    check_views(views, where=f"{mapped.file.filename}: /{name}: views")
    return rows.reshape(-1, *rows.shape[-2:]), views


def _read_integer_ids(mapped: MappedFile, name: str, count: int) -> npt.NDArray[np.int64] | None:
    """Ids (N,) that are integers; None if there are none or they are strings."""
    dataset = mapped.file.get(name)
    if dataset is None:
        return None
    if dataset.shape != (count,):
        raise CacheError(
            f"{mapped.file.filename}: /{name}: {count} ids, one for each label, expected, "
            f"got {dataset.shape}; write the cache again"
        )
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return None
    return mapped.array(name, types=[np.int64])
