"""What a stopped writer left beside the name of a cache, and whether one may go on from it."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from marr_pipeline.cache.errors import CacheWriteError, StaleCacheError
from marr_pipeline.cache.fingerprint import differences
from marr_pipeline.cache.journal import BlockRecord, StoredJournal
from marr_pipeline.cache.partial import try_lock, write_errors


def journal_path(final: Path, rank: int) -> Path:
    """Where process `rank` of those that write the cache `final` keeps its journal."""
    return final.with_name(f"{final.name}.journal{f'.{rank}' if rank else ''}")


def find_journals(final: Path, *, of_partners_only: bool = False) -> list[Path]:
    """The journals of a cache, by name.

    Args:
        final: the final name of the cache.
        of_partners_only: leave out that of process 0.

    Raises:
        CacheWriteError: the folder cannot be read.
    """
    rank = r"\.\d+" if of_partners_only else r"(\.\d+)?"
    pattern = re.compile(re.escape(final.name) + r"\.journal" + rank)
    with write_errors(final):
        return sorted(path for path in final.parent.iterdir() if pattern.fullmatch(path.name))


def remove_journals(final: Path, *, of_partners_only: bool = False) -> None:
    """Forget what was written; arguments and errors as for `find_journals`."""
    with write_errors(final):
        for path in find_journals(final, of_partners_only=of_partners_only):
            path.unlink(missing_ok=True)


def check_no_owner(journals: Sequence[Path], *, where: str) -> None:
    """Refuse a second writer while a process of a first one is still at work.

    Raises:
        CacheWriteError: a journal's owner is alive.
    """
    for path in journals:
        with write_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                found = try_lock(descriptor)
            finally:
                os.close(descriptor)
        if found == "taken":
            raise CacheWriteError(
                f"{where}: one writer expected, got a second while a process of the first holds "
                f"{path.name}; wait for it or choose another name"
            )


def claimed_blocks(
    journals: Sequence[StoredJournal], header: Mapping[str, object], *, where: str
) -> list[BlockRecord]:
    """The blocks of every journal, to be compared with the bytes in the file.

    Args:
        journals: of the unfinished cache.
        header: `plan_header` of what is to be written.
        where: how errors name the cache.

    Raises:
        StaleCacheError: something else was being written; each difference is named.
    """
    for stored in journals:
        if stored.header["digest"] != header["digest"]:
            lines = _differences(stored.header, header)
            raise StaleCacheError(
                f"{where}: an unfinished cache of the same source expected, got "
                f"{'; '.join(lines)}; ask for what it was made from, or give --overwrite to start "
                "anew",
                differences=lines,
            )
    return [block for stored in journals for block in stored.blocks]


def _differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """In the parts; in the layout if it is only that."""
    for name in ("parts", "layout"):
        before, after = old[name], new[name]
        assert isinstance(before, Mapping)
        assert isinstance(after, Mapping)
        lines = differences(before, after)
        if lines:
            return lines
    raise AssertionError("the digests of two journals differ, and nothing else")
