"""Whether caches are of the same classes and rows, and which views of these they share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from marr_pipeline.cache import Cache, CachedSplit, CacheError
from marr_pipeline.errors import DataError


def check_same_rows(first: Cache, other: Cache) -> None:
    """Refuse two caches that are not of the same classes and rows, or have no logits.

    Raises:
        DataError: what differs first.
        CacheError: one has features alone.
    """
    for each in (first, other):
        if each.head is None:
            raise CacheError(
                f"{each.path}: logits to add expected, got features alone; fit a head (rectify "
                "--method head) and import the features with it (--head)"
            )
    where, expected = str(other.path), f"expected, as in {first.path},"
    if other.num_classes != first.num_classes:
        raise DataError(
            f"{where}: {first.num_classes} classes {expected} got {other.num_classes}; give caches "
            "of one dataset"
        )
    if first.class_names and other.class_names and first.class_names != other.class_names:
        pairs = zip(first.class_names, other.class_names, strict=True)
        place = next(index for index, (one, two) in enumerate(pairs) if one != two)
        raise DataError(
            f"{where}: class {place} called {first.class_names[place]!r} {expected} got "
            f"{other.class_names[place]!r}; are the classes in one order?"
        )
    if not np.array_equal(first.class_counts, other.class_counts):
        raise DataError(
            f"{where}: the training images of each class {expected} got other counts; give caches "
            "of one training list"
        )
    if list(first.splits) != list(other.splits):
        raise DataError(
            f"{where}: the splits {', '.join(first.splits)} {expected} got "
            f"{', '.join(other.splits)}; write it with the same splits"
        )
    for name, split in first.splits.items():
        _check_same_split(split, other.split(name), where=f"{where}, split {name}", as_in=expected)


def _check_same_split(one: CachedSplit, two: CachedSplit, *, where: str, as_in: str) -> None:
    if one.num_samples != two.num_samples:
        raise DataError(
            f"{where}: {one.num_samples:,} rows {as_in} got {two.num_samples:,}; extract both "
            "from one dataset, ratio and seed"
        )
    pairs: dict[str, tuple[Any, Any]] = {"label": (one.labels, two.labels)}
    if one.ids is not None and two.ids is not None:
        pairs = {"id": (np.asarray(one.ids), np.asarray(two.ids)), **pairs}
    for what, (ours, theirs) in pairs.items():
        is_other = ours != theirs
        if is_other.any():
            row = int(is_other.argmax())
            raise DataError(
                f"{where}: the {what} {ours[row]} in row {row} {as_in} got {theirs[row]} "
                f"({int(is_other.sum()):,} rows differ); give caches of the same rows in one order"
            )


def common_views(members: Sequence[Cache], name: str) -> tuple[str, ...]:
    """The views of a split that all caches have of the same images; at least the clean one.

    Raises:
        DataError: they have others, and one of them has no clean one.
    """
    found = [each.split(name).views for each in members]
    is_drawn = any("augmented" in views for views in found)
    drawn = [_drawing(each, name) if is_drawn else None for each in members]
    if all(views == found[0] for views in found) and all(how == drawn[0] for how in drawn):
        return found[0]
    lacking = [each for each, views in zip(members, found, strict=True) if views[0] != "clean"]
    if lacking:
        raise DataError(
            f"{lacking[0].path}, split {name}: the views of {members[0].path}, drawn alike, or a "
            f"clean one expected, got {', '.join(lacking[0].split(name).views)}; extract both with "
            "one --seed and --augmentation, or import clean views"
        )
    return ("clean",)


def _drawing(cached: Cache, name: str) -> tuple[object, ...] | None:
    """How the augmented views of a split were drawn; None where the cache does not tell."""
    if "transforms" not in cached.documents:
        return None
    transforms = cached.meta("transforms")
    own = transforms.get(name) if isinstance(transforms, dict) else None
    return tuple(own.get(key) for key in ("augmentation", "seed", "draws")) if own else None
