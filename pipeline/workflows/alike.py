"""Whether caches, or splits, are of the same rows, which views of these caches share, and whether
caches are of one experiment with other seeds, so that their methods have a mean.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from marr_pipeline.errors import ConfigError, DataError, LeakError

if TYPE_CHECKING:
    from marr_pipeline.cache import Cache, CachedSplit


def refuse_test(cached: "Cache", what: str, remedy: str) -> None:
    """Raise a LeakError if the split `tune` is the test split under another name."""
    if tune_is_test(cached):
        raise LeakError(
            f"{cached.path}: a tune split of other samples than the test split's expected, got the "
            f"same ones in both; {what} on it cannot be scored on test: {remedy}"
        )


def tune_is_test(cached: "Cache") -> bool:
    """Whether both splits are there and hold the same samples in the same order."""
    if not {"tune", "test"} <= set(cached.splits):
        return False
    one, other = cached.split("tune"), cached.split("test")
    if not np.array_equal(one.labels, other.labels):
        return False
    pairs = ((one.logits, other.logits), (one.features, other.features))
    return any(
        left is not None
        and right is not None
        and np.array_equal(left[one.clean_view], right[other.clean_view])
        for left, right in pairs
    )


def check_each_once(caches: Sequence["Cache"], each: str) -> None:
    """Raise a ConfigError if the contents of a cache are given again."""
    known: dict[str, Cache] = {}
    for cached in caches:
        if cached.fingerprint in known:
            raise ConfigError(
                f"{cached.path}: a cache of its own expected, got the contents of "
                f"{known[cached.fingerprint].path} again; give each {each} once"
            )
        known[cached.fingerprint] = cached


def check_same_rows(first: "Cache", other: "Cache") -> list[str]:
    """Refuse two caches that are not of the same classes and rows.

    Returns:
        A warning where only one of them has the ids that would tell the order of its rows.

    Raises:
        DataError: what differs first.
    """
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
    has_ids = {
        each.path: all(split.ids is not None for split in each.splits.values())
        for each in (first, other)
    }
    if len(set(has_ids.values())) == 1:
        return []
    known, unknown = sorted(has_ids, key=lambda path: not has_ids[path])
    return [f"rows of {unknown} are taken in the order of {known}: it has no ids"]


def _check_same_split(one: "CachedSplit", two: "CachedSplit", *, where: str, as_in: str) -> None:
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


def common_views(members: Sequence["Cache"], name: str) -> tuple[str, ...]:
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


def _drawing(cached: "Cache", name: str) -> tuple[object, ...] | None:
    """How the augmented views of a split were drawn; None where the cache does not tell."""
    if "transforms" not in cached.documents:
        return None
    transforms = cached.meta("transforms")
    own = transforms.get(name) if isinstance(transforms, dict) else None
    return tuple(own.get(key) for key in ("augmentation", "seed", "draws")) if own else None


def check_seeds(caches: Sequence["Cache"]) -> list[str]:
    """Refuse caches that cannot be runs of one experiment with other seeds.

    Returns:
        A warning for each of which no record tells.

    Raises:
        ConfigError: the same cache twice, whose spread would be nothing.
        DataError: other classes, names, training counts or training methods.
    """
    check_each_once(caches, "seed's cache")
    first, warnings = caches[0], []
    by = _training_method(first)
    for cached in caches[1:]:
        expected = None
        if cached.num_classes != first.num_classes:
            found = cached.num_classes
            expected = f"{first.num_classes} classes expected as in {first.path}, got {found}"
        elif cached.class_names != first.class_names:
            expected = f"the class names of {first.path} expected, got others"
        elif not np.array_equal(cached.class_counts, first.class_counts):
            expected = f"the training counts of {first.path} expected, got others"
        elif None not in (by, trained := _training_method(cached)) and trained != by:
            expected = f"a network trained by {by} expected as in {first.path}, got {trained}"
        if expected is not None:
            raise DataError(
                f"{cached.path}: {expected}; only caches of one experiment with other seeds have a "
                "mean, compare others one by one"
            )
        warnings += _unrecorded(first, cached)
    return warnings


def _unrecorded(first: "Cache", cached: "Cache") -> list[str]:
    """A warning where no record tells that two caches are of one network with other seeds."""
    lacking = [one for one in (first, cached) if "config" not in one.documents]
    if not lacking:
        return []
    widths = [one.num_features or (one.head and one.head.num_features) for one in (first, cached)]
    seen = ""
    if None not in widths and widths[0] != widths[1]:
        seen = f", and their features differ in width ({widths[0]} and {widths[1]})"
    return [
        f"{' and '.join(str(one.path) for one in lacking)} without a record of the network{seen}: "
        f"that {cached.path} and {first.path} differ in their seeds alone is taken on trust"
    ]


def _training_method(cached: "Cache") -> str | None:
    """Name of the method that trained its network; None if it was trained elsewhere."""
    config = cached.meta("config") if "config" in cached.documents else None
    if not isinstance(config, dict) or "checkpoint" in config:
        return None
    return str(config["method"]["name"]) if "method" in config else "softmax"
