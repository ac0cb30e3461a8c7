"""`verify`: every byte of a cache against its checksum."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import attributes_checksum, dataset_blocks
from marr_pipeline.cache.schema import CHECKSUM_OF_ATTRIBUTES, CHECKSUMS
from marr_pipeline.cache.sealed import OpenedCache, opened

# What HDF5 raises on records that make no sense any more.
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, CacheError)


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Bytes that are not those that were written.

    Attributes:
        dataset: path of the dataset, or "attributes".
        start: first byte of the damaged stretch, counted from the dataset's own first byte.
        stop: one past its last byte; equal to start where no byte could be compared.
        reason: expected and found.
    """

    dataset: str
    start: int
    stop: int
    reason: str

    def __str__(self) -> str:
        return f"{self.dataset}: bytes {self.start}..{self.stop}: {self.reason}"


def verify_cache(
    path: Path, *, progress: Callable[[int, int, str], None] | None = None
) -> list[Damage]:
    """Read the whole file and report what has changed since it was sealed.

    Args:
        path: the cache.
        progress: called with bytes done, bytes in all, and the dataset at hand.

    Returns:
        The damage found, empty if there is none.

    Raises:
        CacheError: the file cannot even be opened as a sealed cache.
    """
    with opened(path) as found:
        names, prefix = [*found.summed()], f"{CHECKSUMS}/"
        stored = {name.removeprefix(prefix) for name in found.datasets if name.startswith(prefix)}
        damage = [
            Damage(dataset=name, start=0, stop=0, reason="a checksum is stored, but no dataset")
            for name in sorted(stored.difference(names))
        ]
        sizes = {name: int(found.datasets[name].nbytes) for name in names}
        total, done = sum(sizes.values()), 0
        for name in names:
            try:
                for stop, damaged in check_blocks(found, name):
                    damage.extend(damaged)
                    if progress is not None:
                        progress(done + min(stop, sizes[name]), total, name)
            except _HDF5_ERRORS as error:
                damage.append(_unreadable(name, error))
            done += sizes[name]
        if progress is not None:
            progress(total, total, CHECKSUM_OF_ATTRIBUTES)
        damage.extend(check_attributes(found))
    return damage


def check_blocks(found: OpenedCache, name: str) -> Iterator[tuple[int, list[Damage]]]:
    """End and damage of each 4 MiB of a dataset; raises what HDF5 or the disk does."""
    sums, descriptor = found.sums_of(name), found.held.descriptor
    start = index = 0
    for index, block in enumerate(dataset_blocks(found.datasets[name], descriptor), start=1):
        stop = start + len(block)
        actual = zlib.crc32(block)
        expected = sums[index - 1] if index <= len(sums) else None
        damage = []
        if actual != expected:
            wanted = "none stored" if expected is None else f"{expected:08x}"
            reason = f"CRC-32 {wanted} expected, got {actual:08x}"
            damage.append(Damage(dataset=name, start=start, stop=stop, reason=reason))
        yield stop, damage
        start = stop
    if index < len(sums):
        reason = f"{len(sums)} checksums are stored, but it has {index} blocks"
        yield start, [Damage(dataset=name, start=start, stop=start, reason=reason)]


def check_attributes(found: OpenedCache) -> list[Damage]:
    """The damage of all attributes together, one at most."""
    try:
        expected = int(found.file[CHECKSUMS].attrs[CHECKSUM_OF_ATTRIBUTES])
        actual = attributes_checksum(found.file, found.summed())
    except _HDF5_ERRORS as error:
        return [_unreadable(CHECKSUM_OF_ATTRIBUTES, error)]
    if actual == expected:
        return []
    reason = f"CRC-32 {expected:08x} expected, got {actual:08x}"
    return [Damage(dataset=CHECKSUM_OF_ATTRIBUTES, start=0, stop=0, reason=reason)]


def _unreadable(dataset: str, error: Exception) -> Damage:
    return Damage(dataset=dataset, start=0, stop=0, reason=f"HDF5 cannot read it: {error}")
