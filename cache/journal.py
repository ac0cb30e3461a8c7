"""Which blocks of an unfinished cache are in its file: one line each, appended after the bytes.

    {"digest":"...","format":"marr-cache-journal","layout":{...},"parts":{...},"version":1} 5d0c2e9a
    train 0 128 256 9ae1c22b 77f30a41

The first line says what is being written. Every other one is a block: split, view, first row, one
past the last row, and the CRC-32 of its stored bytes, logits before features. The last word of
any line is the CRC-32 of the line before it, so that a torn or damaged line is none.

A line is a claim, not a proof: it may have reached the disk without its bytes. Whoever goes on
from a journal compares the bytes in the file with the sum, so no line needs an fsync.
"""

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.fingerprint import canonical_json, digest, fingerprint
from marr_pipeline.cache.partial import try_lock, write_errors
from marr_pipeline.cache.plan import CachePlan
from marr_pipeline.cache.staging import write_at

FORMAT = "marr-cache-journal"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class BlockRecord:
    """A block that was written.

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
        """The block's line of the journal."""
        return _signed(f"{self.split} {self.view} {self.start} {self.stop} {self.crc:08x}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The block of a line whose own sum is right."""
        split, view, start, stop, crc = text.split(" ")
        return cls(split=split, view=int(view), start=int(start), stop=int(stop), crc=int(crc, 16))


@dataclass(frozen=True)
class StoredJournal:
    """What a journal file says.

    Attributes:
        header: its first line.
        blocks: its good lines, in order.
    """

    header: Mapping[str, object]
    blocks: tuple[BlockRecord, ...]


def plan_header(plan: CachePlan) -> dict[str, object]:
    """What the first line of a journal says of a plan: all that decides the bytes of its rows."""
    content: dict[str, object] = {
        "parts": dict(plan.parts),
        "layout": {
            "rows": {name: [at.dtype.str, *at.shape] for name, at in plan.row_arrays().items()},
            "views": {name: list(split.views) for name, split in plan.splits.items()},
            "head": plan.head.fingerprint(),
            "class_counts": digest(plan.class_counts),
        },
    }
    return {"format": FORMAT, "version": VERSION, "digest": fingerprint(content), **content}


def read_journal(path: Path) -> StoredJournal:
    """Read a journal; lines that are torn or damaged are left out.

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
    return StoredJournal(header, tuple(BlockRecord.parse(text) for text in texts if text))


class Journal:
    """A journal that is being written; a lock on it, dropped with its owner, says so.

    Args:
        path: the file; one of that name is replaced in one step.
        header: what `plan_header` gives.
        blocks: what is in the file of rows already.

    Raises:
        OSError: the disk refuses.
    """

    def __init__(
        self, path: Path, header: Mapping[str, object], blocks: Iterable[BlockRecord]
    ) -> None:
        first = _signed(canonical_json(header, where=str(path)))
        content = b"".join([first, *(block.line() for block in blocks)])
        fresh = path.with_name(path.name + ".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._descriptor = os.open(fresh, flags, 0o666)
        self._end = len(content)
        try:
            try_lock(self._descriptor)
            write_at(self._descriptor, memoryview(content), 0)
            os.fsync(self._descriptor)
            fresh.replace(path)
        except BaseException:
            self.close()
            fresh.unlink(missing_ok=True)
            raise

    def append(self, block: BlockRecord) -> None:
        """Say that the bytes of a block are in the file of rows.

        Raises:
            OSError: the disk refuses; the line may be torn, so none may follow it.
        """
        line = block.line()
        write_at(self._descriptor, memoryview(line), self._end)
        self._end += len(line)

    def close(self) -> None:
        """Drop the lock; the file stays."""
        os.close(self._descriptor)


def _signed(text: str) -> bytes:
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def _checked(line: bytes) -> str | None:
    """The line without its sum, None if that is wrong."""
    content, _, crc = line.rpartition(b" ")
    return content.decode() if crc == b"%08x" % zlib.crc32(content) else None
