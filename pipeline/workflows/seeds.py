"""Whether caches are of one experiment with other seeds, so that their methods have a mean."""

from collections.abc import Sequence

import numpy as np

from marr_pipeline.cache import Cache, differences
from marr_pipeline.errors import DataError
from marr_pipeline.findings import Finding
from marr_pipeline.workflows.same_rows import check_each_once

DOCUMENTS = ("config", "transforms")
"""Of a cache's records, those that say what was trained and how its views were made."""
SEEDS = ("seed", "data_seed")


def check_seeds(caches: Sequence[Cache]) -> list[str]:
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


def differing_runs(caches: Sequence[Cache]) -> Finding | None:
    """R12: by their records, caches differ in more than their seeds."""
    first = caches[0]
    told = []
    for cached in caches[1:]:
        shared = [name for name in DOCUMENTS if {name} <= first.documents.keys() & cached.documents]
        lines = differences(*({name: one.meta(name) for name in shared} for one in (first, cached)))
        lines = [line for line in lines if line.split(":")[0].split(".")[-1] not in SEEDS]
        if lines:
            told.append(f"{cached.path} from {first.path} ({'; '.join(lines)})")
    if not told:
        return None
    return Finding(
        "R12",
        f"A cache differs in more than its seed: {'; '.join(told)}.",
        "Means and deviations are of runs that differ in their seeds alone: compare these one by "
        "one.",
    )


def _unrecorded(first: Cache, cached: Cache) -> list[str]:
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


def _training_method(cached: Cache) -> str | None:
    """Name of the method that trained its network; None if it was trained elsewhere."""
    config = cached.meta("config") if "config" in cached.documents else None
    if not isinstance(config, dict) or "checkpoint" in config:
        return None
    return str(config["method"]["name"]) if "method" in config else "softmax"
