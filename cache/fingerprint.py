"""What a cache was made from, as one digest, and a readable difference between two.

The parts hold JSON values and digests of arrays, never paths or times, so that the same weights,
data, transforms and order give the same fingerprint on any machine.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError, StaleCacheError

_LONGEST_VALUE = 60

BLOCK_BYTES = 8 << 20


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
    return digest_blocks([values], shape=values.shape, dtype=dtype or values.dtype)


def digest_blocks(
    blocks: Iterable[npt.NDArray[np.generic]], *, shape: tuple[int, ...], dtype: npt.DTypeLike
) -> str:
    """`digest` of an array of that shape and type, from its blocks in C order."""
    stored = np.dtype(dtype).newbyteorder("<")
    sha = hashlib.sha256(f"{stored.str}{shape}".encode())
    for block in blocks:
        for content in byte_blocks(block, dtype=stored):
            sha.update(content)
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


def row_ranges(num_rows: int, num_bytes_per_row: int) -> Iterator[tuple[int, int]]:
    """First and last row (exclusive) of each block of at most `BLOCK_BYTES`, or of one row."""
    step = max(1, BLOCK_BYTES // max(1, num_bytes_per_row))
    for start in range(0, num_rows, step):
        yield start, min(start + step, num_rows)


def byte_blocks(
    array: npt.NDArray[np.generic], *, dtype: npt.DTypeLike | None = None
) -> Iterator[memoryview]:
    """The bytes of an array in C order, as they would be in another dtype, block by block.

    A C-contiguous array is never copied as a whole.
    """
    target = array.dtype if dtype is None else np.dtype(dtype)
    flat = array.reshape(-1)
    for start, stop in row_ranges(flat.size, max(array.itemsize, target.itemsize)):
        with np.errstate(over="ignore"):  # what overflows is refused where rows are checked
            block = np.ascontiguousarray(flat[start:stop], dtype=target)
        yield block.view(np.uint8).data
