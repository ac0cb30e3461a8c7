"""What a cache holds, once it is open: class counts, head, documents, and splits of rows.

V views, N samples, K classes, D features. Logits and features are read when they are first asked
for, and compared with their checksums; those of more than `READ_UP_TO` bytes are mapped instead,
and compared with nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache import schema
from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.fingerprint import row_ranges
from marr_pipeline.cache.head import Head, first_not_finite
from marr_pipeline.cache.stored import StoredArray

READ_UP_TO = 64 << 20
"""Bytes of logits or features that are read and compared. More would take as long as a fit of
them does; these take less than a twentieth of the shortest command, which has torch to load."""

ViewKind = Literal["augmented", "clean", "all"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CachedSplit:
    """The rows of one split.

    Attributes:
        name: "train", "tune" or "test".
        views: V kinds of view, "clean" or "augmented".
        labels: (N,) int64.
        stored_ids: N ids as they are stored, strings as UTF-8, or None.
        stored: "logits" and "features", as far as there are some, as they lie in the file.
    """

    name: str
    views: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    stored_ids: npt.NDArray[np.generic] | None = field(repr=False)
    stored: Mapping[str, StoredArray] = field(repr=False)

    @cached_property
    def logits(self) -> npt.NDArray[np.floating] | None:
        """(V, N, K) float32 or float16, or None if not stored; what is written to it stays here.

        Raises:
            CacheError: read and not mapped, a byte is not the one that was written, or a number is
                not finite.
        """
        return self._rows("logits")

    @cached_property
    def features(self) -> npt.NDArray[np.floating] | None:
        """(V, N, D) likewise."""
        return self._rows("features")

    def _rows(self, name: str) -> npt.NDArray[np.floating] | None:
        if name not in self.stored:
            return None
        stored = self.stored[name]
        is_read = not _is_large(stored)
        found = stored.read() if is_read else stored.mapped()
        rows = cast("npt.NDArray[np.floating]", found).reshape(-1, *found.shape[-2:])
        if is_read:
            self._refuse_not_finite(name, rows)
        return rows

    @property
    def is_mapped(self) -> bool:
        """Whether logits or features are so large that they are mapped."""
        return any(map(_is_large, self.stored.values()))

    def refuse_not_finite(self) -> None:
        """Look for what made numbers of these rows that are none.

        Raises:
            CacheError: a logit or feature is not finite; it names view, row and column.
        """
        for name, rows in (("logits", self.logits), ("features", self.features)):
            if rows is not None:
                self._refuse_not_finite(name, rows)

    def _refuse_not_finite(self, name: str, rows: npt.NDArray[np.floating]) -> None:
        for view, of_view in enumerate(rows):
            for start, stop in row_ranges(len(of_view), rows.shape[-1] * rows.itemsize):
                place = first_not_finite(of_view[start:stop])
                if place is not None:
                    row, column = start + place[0], place[1]
                    raise CacheError(
                        f"{self.stored[name].where}: finite numbers expected, got "
                        f"{of_view[row, column]} in split {self.name}, view {view}, row {row}, "
                        f"column {column}; is it damaged (`pipeline verify`)? If not, check the "
                        "model and write it again"
                    )

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
    def num_features(self) -> int | None:
        """D; None where there are no features."""
        stored = self.stored.get("features")
        return None if stored is None else stored.extent.shape[-1]

    @property
    def clean_view(self) -> int:
        """Index of the clean view; without one 0, the first of the imported views."""
        return self.views.index(schema.VIEW_CLEAN) if schema.VIEW_CLEAN in self.views else 0

    def view_indices(self, kind: ViewKind) -> list[int]:
        """Indices of the views of a kind; empty if there are none."""
        return [index for index, view in enumerate(self.views) if kind in ("all", view)]


def _is_large(stored: StoredArray) -> bool:
    return stored.extent.num_bytes > READ_UP_TO


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
        return next(filter(None, (split.num_features for split in self.splits.values())), None)

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

    def require_unchanged(self) -> None:
        """Refuse results of rows that were written to while they were read, which mapped ones may.

        Raises:
            CacheError: the file was changed in place. One that was replaced is read on.
        """
        for split in self.splits.values():
            for stored in split.stored.values():
                stored.file.require_unchanged()

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
        return parsed(self.documents[key], where=f"{self.path}: {schema.META}/{key}")

    def record(self, key: str) -> dict[str, Any]:
        """The document stored under a key, which is a JSON object.

        Raises:
            CacheError: there is none, or it is something else; a key of it that is asked for and is
                not there raises likewise.
        """
        found = self.meta(key)
        if not isinstance(found, dict):
            raise CacheError(
                f"{self.path}: {schema.META}/{key}: a JSON object expected, got "
                f"{type(found).__name__}; write the cache again"
            )
        return found


class _Record(dict[str, object]):
    """A JSON object of which only those keys are asked for that its writer has put there."""

    def __init__(self, pairs: Sequence[tuple[str, object]], where: str) -> None:
        super().__init__(pairs)
        self._where = where

    def __missing__(self, key: str) -> object:
        raise CacheError(
            f"{self._where}: a record with {key!r} expected, got one with "
            f"{', '.join(self) or 'nothing'}; write the cache again"
        )


def parsed(document: str, *, where: str) -> object:
    """A JSON document; a CacheError if it is none."""
    try:
        value: object = json.loads(document, object_pairs_hook=lambda pairs: _Record(pairs, where))
    except (ValueError, RecursionError) as error:
        raise CacheError(
            f"{where}: JSON expected, got {error}; "
            "the file is damaged: run `pipeline verify`, then write or copy it again"
        ) from error
    return value
