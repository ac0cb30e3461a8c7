"""Read a cache: its header is checked, its arrays are mapped, nothing is copied.

V views, N samples, K classes, D features. No HDF5 handle survives `open_cache`, so a cache may be
handed to forked processes, which share the mapping. What was opened is read on, even if the file
is replaced meanwhile. Rows are NumPy arrays, so rows in any order (`split.logits[view, rows]`) cost
one gather and no HDF5 call.
"""

import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from typing import Literal, TypeVar, cast

import h5py
import numpy as np
import numpy.typing as npt

from marr_pipeline.cache import schema
from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent, map_file
from marr_pipeline.cache.fingerprint import fingerprint
from marr_pipeline.cache.head import Head, Normalisation
from marr_pipeline.cache.plan import check_class_counts, check_labels, check_views, check_widths
from marr_pipeline.cache.schema import split_dataset, text
from marr_pipeline.cache.sealed import opened

_HEAD_TYPES: tuple[type[np.floating], ...] = (np.float32, np.float64)
_ROW_TYPES: tuple[type[np.floating], ...] = (np.float32, np.float16)

_Scalar = TypeVar("_Scalar", bound=np.generic)

ViewKind = Literal["augmented", "clean", "all"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CachedSplit:
    """The rows of one split, mapped from the file.

    Attributes:
        name: "train", "tune" or "test".
        views: V kinds of view, "clean" or "augmented".
        labels: (N,) int64.
        logits: (V, N, K) float32 or float16, or None if not stored. A private mapping: what is
            written to it never reaches the file.
        features: (V, N, D) likewise.
        stored_ids: N ids as they are stored, strings as UTF-8, or None.
    """

    name: str
    views: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.floating] | None
    features: npt.NDArray[np.floating] | None
    stored_ids: npt.NDArray[np.generic] | None = field(repr=False)

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.labels)

    @cached_property
    def ids(self) -> list[str] | npt.NDArray[np.int64] | None:
        """One id for each row: N strings, (N,) int64, or None if not stored."""
        stored = self.stored_ids
        if stored is None:
            return None
        if stored.dtype.kind == "S":
            return [value.decode("utf-8") for value in stored.tolist()]
        return stored.astype(np.int64, copy=False)

    @property
    def clean_view(self) -> int:
        """Index of the clean view; without one 0, the first of the imported views."""
        return self.views.index(schema.VIEW_CLEAN) if schema.VIEW_CLEAN in self.views else 0

    def view_indices(self, kind: ViewKind) -> list[int]:
        """Indices of the views of a kind; empty if there are none."""
        return [index for index, view in enumerate(self.views) if kind in ("all", view)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cache:
    """What one file holds.

    Attributes:
        path: the file.
        class_counts: (K,) int64, training images per class.
        class_names: K names, or None if not stored.
        head: the head that made the logits; None in a cache of features alone.
        fingerprint: of `parts`.
        head_fingerprint: of the head's planes, or of there being none; a rectifier serves caches
            that share it.
        parts: what the cache was made from.
        attributes: creator, created_utc, library versions and the other root attributes.
        documents: JSON text by key, which `meta` parses.
        splits: by name, in the order train, tune, test.
    """

    path: Path
    class_counts: npt.NDArray[np.int64]
    class_names: list[str] | None
    head: Head | None
    fingerprint: str
    head_fingerprint: str
    parts: Mapping[str, object]
    attributes: Mapping[str, str]
    documents: Mapping[str, str] = field(repr=False)
    splits: Mapping[str, CachedSplit]

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_counts)

    @property
    def num_features(self) -> int | None:
        """D, the width of the features; None where there are none."""
        stored = (split.features for split in self.splits.values())
        return next((rows.shape[2] for rows in stored if rows is not None), None)

    def _repr_html_(self) -> str:
        """What is inside, for a notebook; this package stands alone, so in its own few words."""
        facts = {"classes": f"{self.num_classes:,}", "fingerprint": self.fingerprint[:12]}
        if self.head is None:
            facts["head"] = f"none; {self.num_features:,} features"
        for name, each in self.splits.items():
            facts[name] = f"{len(each.labels):,} rows, views {', '.join(each.views)}"
        rows = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
        return f"<table><caption>{escape(str(self.path))}</caption>{''.join(rows)}</table>"

    def split(self, name: str) -> CachedSplit:
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
        if key not in self.documents:
            raise CacheError(
                f"{self.path}: has no document {key!r}; "
                f"it has {', '.join(self.documents) or 'none'}; write the cache again to add it"
            )
        return _parsed(self.documents[key], where=f"{self.path}: {schema.META}/{key}")


def open_cache(path: str | PathLike[str]) -> Cache:
    """Open a cache in milliseconds; checksums are left to `verify_cache`.

    Raises:
        CacheError: not a cache, of a newer version, unfinished, truncated, or it contradicts
            itself.
    """
    path = Path(path)
    with opened(path) as file:
        mapping = map_file(file)
        attributes = {name: text(value) for name, value in file.attrs.items()}
        head = _read_head(file, mapping)
        name = schema.CLASS_COUNTS
        class_counts = _needed_array(file, mapping, name, np.int64)
        found = {key: _read_strings(file, f"{schema.META}/{key}") for key in file[schema.META]}
        documents = {key: strings[0] for key, strings in found.items() if strings}
        parts = _read_parts(file, documents.pop(schema.META_PARTS, ""), attributes["fingerprint"])
        names = list(file.get(schema.SPLITS_GROUP, ()))
        if not names or not set(names) <= set(schema.SPLITS):
            raise CacheError(
                f"{path}: splits named {', '.join(schema.SPLITS)} expected, "
                f"got {', '.join(names) or 'none'}; write the cache again"
            )
        num_classes = class_counts.size if head is None else head.num_classes
        check_class_counts(class_counts, num_classes, where=f"{path}: /{name}")
        splits = {
            name: _read_split(file, mapping, name, num_classes)
            for name in schema.SPLITS
            if name in names
        }
        try:
            check_widths(head, {name: _width(split) for name, split in splits.items()})
        except CacheError as error:
            raise CacheError(f"{path}: {error}") from error
        return Cache(
            path=path,
            class_counts=class_counts,
            class_names=_read_strings(file, schema.CLASS_NAMES),
            head=head,
            fingerprint=attributes["fingerprint"],
            head_fingerprint=attributes["head_fingerprint"],
            parts=parts,
            attributes=attributes,
            documents=documents,
            splits=splits,
        )


def _width(split: CachedSplit) -> tuple[bool, int | None]:
    """Whether there are logits, and D."""
    return split.logits is not None, None if split.features is None else split.features.shape[2]


def _mapped_array(
    file: h5py.File,
    mapping: mmap.mmap,
    name: str,
    *,
    types: Sequence[type[_Scalar]],
    ndims: Sequence[int] = (1,),
) -> npt.NDArray[_Scalar] | None:
    """A dataset's array over the mapped file, without a copy; None if there is none of that name.

    Raises:
        CacheError: it is of another type, or has another number of axes.
    """
    dataset = file.get(name)
    if dataset is None:
        return None
    where = f"{file.filename}: /{name}"
    allowed = [np.dtype(kind).newbyteorder("<") for kind in types]
    is_dataset = isinstance(dataset, h5py.Dataset)
    if not is_dataset or dataset.dtype not in allowed or dataset.ndim not in ndims:
        found = f"{dataset.dtype} {dataset.shape}" if is_dataset else "a group"
        raise CacheError(
            f"{where}: {' or '.join(dtype.name for dtype in allowed)} with "
            f"{' or '.join(str(ndim) for ndim in ndims)} axes expected, "
            f"got {found}; write the cache again"
        )
    return cast("npt.NDArray[_Scalar]", Extent.of(dataset).view(mapping, where=where))


def _read_strings(file: h5py.File, name: str) -> list[str] | None:
    """A dataset of strings, a single one as a list of one; None if there is none of that name."""
    if name not in file:
        return None
    return [value.decode("utf-8") for value in np.atleast_1d(file[name][()])]


def _needed_array(
    file: h5py.File, mapping: mmap.mmap, name: str, kind: type[_Scalar]
) -> npt.NDArray[_Scalar]:
    array = _mapped_array(file, mapping, name, types=[kind])
    if array is None:
        raise CacheError(
            f"{file.filename}: dataset /{name} expected, got none; write the cache again"
        )
    return array


def _parsed(document: str, *, where: str) -> object:
    try:
        value: object = json.loads(document)
    except ValueError as error:
        raise CacheError(
            f"{where}: JSON expected, got {error}; "
            "the file is damaged: run `pipeline verify`, then write or copy it again"
        ) from error
    return value


def _read_parts(file: h5py.File, document: str, expected: str) -> Mapping[str, object]:
    where = f"{file.filename}: /{schema.META}/{schema.META_PARTS}"
    parts = _parsed(document, where=where)
    if not isinstance(parts, dict) or fingerprint(parts) != expected:
        raise CacheError(
            f"{where}: what the fingerprint was computed from expected, got something else; "
            "the file is damaged: run `pipeline verify`, then write or copy it again"
        )
    return parts


def _read_head(file: h5py.File, mapping: mmap.mmap) -> Head | None:
    group = schema.HEAD
    if group not in file:
        return None
    norms = _needed_array(file, mapping, f"{group}/weight_norm", np.float64)
    weight = _mapped_array(file, mapping, f"{group}/weight", types=_HEAD_TYPES, ndims=(2,))
    bias = _mapped_array(file, mapping, f"{group}/bias", types=_HEAD_TYPES)
    prior_counts = _mapped_array(file, mapping, f"{group}/prior_counts", types=[np.float64])
    normalise = text(file[group].attrs.get(schema.HEAD_NORMALISE, "none"))
    try:
        return Head(
            weight_norm=norms,
            weight=weight,
            bias=bias,
            prior_counts=prior_counts,
            normalise=cast("Normalisation", normalise),  # which the head checks
        )
    except CacheError as error:
        raise CacheError(f"{file.filename}: {error}") from error


def _read_split(file: h5py.File, mapping: mmap.mmap, name: str, num_classes: int) -> CachedSplit:
    where = f"{file.filename}: {name}"
    labels = _needed_array(file, mapping, split_dataset(name, "labels"), np.int64)
    check_labels(labels, num_classes, where=f"{where}, labels")
    logits, logit_views = _read_rows(file, mapping, split_dataset(name, "logits"))
    features, feature_views = _read_rows(file, mapping, split_dataset(name, "features"))
    views = logit_views or feature_views
    if views is None or (logit_views and feature_views and logit_views != feature_views):
        raise CacheError(
            f"{where}: logits, features or both with the same views expected, "
            f"got {logit_views} and {feature_views}; write the cache again"
        )
    for kind, rows, width in (("logits", logits, num_classes), ("features", features, None)):
        if rows is None:
            continue
        expected = (len(views), len(labels), width or rows.shape[2])
        if rows.shape != expected:
            raise CacheError(
                f"{where}, {kind}: shape {expected} by its views, its labels and the classes "
                f"expected, got {rows.shape}; write the cache again"
            )
    return CachedSplit(
        name=name,
        views=views,
        labels=labels,
        logits=logits,
        features=features,
        stored_ids=_read_ids(file, mapping, split_dataset(name, "ids"), len(labels)),
    )


def _read_rows(
    file: h5py.File, mapping: mmap.mmap, name: str
) -> tuple[npt.NDArray[np.floating] | None, tuple[str, ...] | None]:
    """Rows (V, N, W) of a dataset and the kinds of its views; two None if there is none."""
    rows = _mapped_array(file, mapping, name, types=_ROW_TYPES, ndims=(2, 3))
    if rows is None:
        return None, None
    views = tuple(text(view) for view in file[name].attrs.get("views", ()))
    check_views(views, where=f"{file.filename}: /{name}: views")
    return rows.reshape(-1, *rows.shape[-2:]), views


def _read_ids(
    file: h5py.File, mapping: mmap.mmap, name: str, count: int
) -> npt.NDArray[np.generic] | None:
    dataset = file.get(name)
    if dataset is None:
        return None
    if dataset.shape != (count,):
        raise CacheError(
            f"{file.filename}: /{name}: {count} ids, one for each label, expected, "
            f"got {dataset.shape}; write the cache again"
        )
    kind = h5py.check_string_dtype(dataset.dtype)
    if kind is None:
        return _mapped_array(file, mapping, name, types=[np.int64])
    if kind.length is None:  # of a file from before the seal: in HDF5's heap
        return np.array(dataset[...].tolist(), dtype=np.bytes_)
    return Extent.of(dataset).view(mapping, where=f"{file.filename}: /{name}")
