"""What a cache was made from, as one digest, and a readable difference between two.

The parts hold JSON values and digests of arrays, never paths or times, so that the same weights,
data, transforms and order give the same fingerprint on any machine.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError, StaleCacheError
from marr_pipeline.cache.extent import byte_blocks

_LONGEST_VALUE = 60


def canonical_json(value: object, *, where: str) -> str:
    """The one JSON text of a value: sorted keys, no spaces, ASCII.

    Raises:
        CacheError: the value holds something that JSON has no word for, NaN included.
    """
    try:
        # The first round trip turns tuples into lists and number keys into strings.
        plain = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CacheError(
            f"{where}: JSON values expected, got an unfit one ({error}); "
            "give numbers, strings, lists and mappings only"
        ) from error
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def fingerprint(parts: Mapping[str, object]) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of `parts`.

    Raises:
        CacheError: a part is no JSON value.
    """
    return hashlib.sha256(canonical_json(parts, where="fingerprint").encode()).hexdigest()


def digest(array: npt.ArrayLike, *, dtype: npt.DTypeLike | None = None) -> str:
    """SHA-256 (64 hex digits) of an array's type, shape and little-endian bytes.

    Args:
        array: of any shape.
        dtype: as if the array had been converted to it; None keeps its own.
    """
    values = np.asarray(array)
    stored = np.dtype(values.dtype if dtype is None else dtype).newbyteorder("<")
    sha = hashlib.sha256(f"{stored.str}{values.shape}".encode())
    for block in byte_blocks(values, dtype=stored):
        sha.update(block)
    return sha.hexdigest()


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """One line for each value in which two sets of parts differ, sorted by its dotted name.

    `transforms.mean: [0.4] -> [0.5]`, `seed: added 3`, `seed: removed 3`.
    """
    before, after = _flat(old), _flat(new)
    lines = []
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            lines.append(f"{name}: added {_short(after[name])}")
        elif name not in after:
            lines.append(f"{name}: removed {_short(before[name])}")
        elif before[name] != after[name]:
            lines.append(f"{name}: {_short(before[name])} -> {_short(after[name])}")
    return lines


def require_same(old: Mapping[str, object], new: Mapping[str, object], *, where: str) -> None:
    """Refuse to go on with what was made from something else.

    Raises:
        StaleCacheError: the parts differ; it names each difference.
    """
    lines = differences(old, new)
    if lines:
        raise StaleCacheError(
            f"{where}: made from the same source expected, got {'; '.join(lines)}; "
            "write it again or ask for what it was made from"
        )


def _flat(parts: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Dotted name to canonical JSON of each leaf; an empty mapping is a leaf."""
    leaves: dict[str, str] = {}
    for key, value in parts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            leaves |= _flat(value, f"{name}.")
        else:
            leaves[name] = canonical_json(value, where=name)
    return leaves


def _short(value: str) -> str:
    """The value itself, or its two ends: digests and long lists still fit on a line."""
    if len(value) <= _LONGEST_VALUE:
        return value
    return f"{value[:24]}...{value[-24:]}"
