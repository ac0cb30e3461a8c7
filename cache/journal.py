"""The journals that remember which blocks of an unfinished cache are written.

A block is a run of rows of one view that was written at once. Each process that writes keeps a
journal beside the partial file, one line a block, appended after its bytes:

    {"digest":"...","format":"marr-cache-journal","parts":{...},"layout":{...},...} 5d0c2e9a
    train 0 128 256 9ae1c22b 77f30a41

The first line says what is being written. Every other one is a block: split, view, first row, one
past the last row, and the CRC-32 of its stored bytes, logits before features. The last word of
any line is the CRC-32 of the line before it, so that a torn or damaged line is none.

A line is a claim, not a proof: it may have reached the disk without its bytes. Whoever goes on
from a journal compares the bytes in the file with the sum, so no line needs an fsync.
"""

import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from marr_pipeline.cache.errors import CacheError, StaleCacheError, write_errors
from marr_pipeline.cache.extent import write_at
from marr_pipeline.cache.fingerprint import canonical_json, differences, digest, fingerprint
from marr_pipeline.cache.partial import WriterLock
from marr_pipeline.cache.plan import CachePlan
from marr_pipeline.cache.schema import FORMAT_VERSION

FORMAT = "marr-cache-journal"
VERSION = 1


@dataclass(frozen=True, kw_only=True, order=True)
class Block:
    """Rows that were written at once; sorted as they lie in the file.

    Attributes:
        split: name of the split.
        view: index of the view.
        start: first row.
        stop: one past the last row.
        crc: CRC-32 of the stored bytes, logits before features.
    """

    split: str
    view: int
    start: int
    stop: int
    crc: int

    @property
    def num_rows(self) -> int:
        """Rows of the block."""
        return self.stop - self.start

    def line(self) -> bytes:
        """The block's line of a journal."""
        return _signed(f"{self.split} {self.view} {self.start} {self.stop} {self.crc:08x}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The block of a line whose own sum is right."""
        split, view, start, stop, crc = text.split(" ")
        return cls(split=split, view=int(view), start=int(start), stop=int(stop), crc=int(crc, 16))


class Journal:
    """A journal that is being written.

    Args:
        path: the file; one of that name is replaced in one step.
        header: what `plan_header` gives.
        blocks: what is in the file of rows already.
    """

    def __init__(self, path: Path, header: Mapping[str, object], blocks: Iterable[Block]) -> None:
        first = _signed(canonical_json(header, where=str(path)))
        content = b"".join([first, *(block.line() for block in blocks)])
        fresh = path.with_name(path.name + ".new")
        try:
            fresh.unlink(missing_ok=True)  # of a killed writer, or a link
            with fresh.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)  # closed before: Windows renames no open file
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        self._descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        self._end = len(content)

    def append(self, block: Block) -> None:
        """Say that the bytes of a block are in the file of rows.

        If the disk refuses, the line may be torn, so none may follow it.
        """
        line = block.line()
        write_at(self._descriptor, memoryview(line), self._end)
        self._end += len(line)

    def close(self) -> None:
        """No line follows; the file stays."""
        os.close(self._descriptor)


def plan_header(plan: CachePlan) -> dict[str, object]:
    """What the first line of a journal says of a plan: all that decides the bytes of its rows."""
    content: dict[str, object] = {
        "format_version": FORMAT_VERSION,
        "parts": dict(plan.parts),
        "layout": {
            "rows": {name: [at.dtype.str, *at.shape] for name, at in plan.row_arrays().items()},
            "views": {name: list(split.views) for name, split in plan.splits.items()},
            "head": plan.head_fingerprint,
            "class_counts": digest(plan.class_counts),
        },
    }
    return {"format": FORMAT, "version": VERSION, "digest": fingerprint(content), **content}


def read_journal(path: Path) -> tuple[Mapping[str, object], list[Block]]:
    """The first line of a journal and its blocks; lines that are torn or damaged are left out.

    Raises:
        CacheError: the first line is not one of this version, whole and undamaged. A journal gets
            its name when that line is on the disk, so no killed writer leaves such a file.
        CacheWriteError: the file cannot be read.
    """
    with write_errors(path):
        first, *lines = path.read_bytes().split(b"\n")
    text = _checked(first)
    header = json.loads(text) if text is not None and text.startswith("{") else {}
    found = (header.get("format"), header.get("version"))
    if found != (FORMAT, VERSION):
        got = "another file or a damaged one" if found[0] != FORMAT else f"version {found[1]}"
        raise CacheError(
            f"{path}: a journal of version {VERSION} expected, got {got}; move it away, or give "
            "--overwrite to start anew"
        )
    texts = (_checked(line) for line in lines)
    return header, [Block.parse(text) for text in texts if text]


def claimed_blocks(
    paths: Iterable[Path], header: Mapping[str, object], *, where: str
) -> list[Block]:
    """The blocks of every journal, to be compared with the bytes in the file.

    Args:
        paths: the journals of an unfinished cache.
        header: `plan_header` of what is to be written.
        where: how errors name the cache.

    Raises:
        StaleCacheError: something else was being written; each difference is named.
        CacheError, CacheWriteError: as `read_journal`.
    """
    stored = [read_journal(path) for path in paths]
    for old, _ in stored:
        if old["digest"] != header["digest"]:
            raise StaleCacheError(
                f"{where}: an unfinished cache of the same source expected, got "
                f"{'; '.join(_differences(old, header))}; ask for what it was made from, or give "
                "--overwrite to start anew"
            )
    return [block for _, blocks in stored for block in blocks]


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


def partner_lock(path: Path, *, where: str) -> WriterLock:
    """What a process with a journal of its own, at `path`, holds while it writes rows."""
    return WriterLock(path, where=where, owner="a process of the first")


def check_no_partner(final: Path, *, where: str) -> None:
    """Refuse a second writer while a process of a first one is still at work.

    Raises:
        CacheWriteError: it is alive, or the folder refuses.
    """
    for path in find_journals(final, of_partners_only=True):
        with write_errors(path):
            lock = partner_lock(path, where=where)
            lock.take()
            lock.drop()


def _differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """In the version of the format and in the parts; in the layout if the parts are the same."""
    version = "format_version"
    # Journals of version 1.0 do not say so.
    lines = differences({version: old.get(version, "1.0")}, {version: new[version]})
    for name in ("parts", "layout"):
        found = differences({name: old[name]}, {name: new[name]})
        if found:
            return lines + [line.removeprefix(f"{name}.") for line in found]
    return lines


def _signed(text: str) -> bytes:
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def _checked(line: bytes) -> str | None:
    """The line without its sum, None if that is wrong."""
    content, _, crc = line.rpartition(b" ")
    return content.decode() if crc == b"%08x" % zlib.crc32(content) else None
