"""Caches that are runs of one experiment with different seeds."""

from collections.abc import Sequence

import numpy as np

from marr_pipeline.cache import Cache, differences
from marr_pipeline.errors import ConfigError, DataError

DOCUMENTS = ("config", "transforms")
"""Of a cache's records, those that say what was trained and how its views were made."""
SEEDS = ("seed", "data_seed")


def check_seeds(caches: Sequence[Cache]) -> None:
    """Raise unless the caches can be runs of one experiment with different seeds.

    Raises:
        ConfigError: the same cache twice, whose spread would be nothing.
        DataError: other classes, names or training counts.
    """
    first = caches[0]
    known = {first.fingerprint: first.path}
    for cached in caches[1:]:
        if cached.fingerprint in known:
            raise ConfigError(
                f"{cached.path}: a cache of its own expected, got the contents of "
                f"{known[cached.fingerprint]} again; give each seed's cache once"
            )
        known[cached.fingerprint] = cached.path
        contradiction = _contradiction(first, cached)
        if contradiction is not None:
            raise DataError(
                f"{cached.path}: {contradiction}; only caches of one experiment with other "
                "seeds have a mean, compare others one by one"
            )


def other_differences(caches: Sequence[Cache]) -> list[str]:
    """A warning for each cache that differs from the first in more than its seeds."""
    first, warnings = caches[0], []
    for cached in caches[1:]:
        known = [name for name in DOCUMENTS if name in first.meta_keys and name in cached.meta_keys]
        lines = differences(*({name: one.meta(name) for name in known} for one in (first, cached)))
        lines = [line for line in lines if line.split(":")[0].split(".")[-1] not in SEEDS]
        if lines:
            warnings.append(
                f"{cached.path} differs from {first.path} in more than its seed: {'; '.join(lines)}"
            )
    return warnings


def _contradiction(first: Cache, other: Cache) -> str | None:
    if other.num_classes != first.num_classes:
        return f"{first.num_classes} classes expected as in {first.path}, got {other.num_classes}"
    if other.class_names != first.class_names:
        return f"the class names of {first.path} expected, got others"
    if not np.array_equal(other.class_counts, first.class_counts):
        return f"the training counts of {first.path} expected, got others"
    return None
