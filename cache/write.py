"""Write a cache: complete under its name, or not there.

    claim `<name>.partial` -> lay out the file -> rows, labels, ids -> check, sum, seal -> rename

A resumable writer keeps a journal (see `journal`) beside the partial file. When it stops early it
leaves both, and the next one of the same plan begins with every block whose bytes are in the file.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError, CacheWriteError, write_errors
from marr_pipeline.cache.extent import Extent
from marr_pipeline.cache.fingerprint import row_ranges
from marr_pipeline.cache.journal import (
    Block,
    Journal,
    check_no_partner,
    claimed_blocks,
    find_journals,
    journal_path,
    partner_lock,
    read_journal,
    remove_journals,
)
from marr_pipeline.cache.layout import create_file, seal_file
from marr_pipeline.cache.partial import PartialFile, check_space
from marr_pipeline.cache.plan import CachePlan, SplitArrays, check_labels, check_strings
from marr_pipeline.cache.rows import RowWriter
from marr_pipeline.cache.schema import split_dataset

_NAMED_ROWS = 5


class CacheWriter(RowWriter):
    """Writes one cache inside a `with` block, whose normal end seals it.

    Rows may come in any order and in blocks of any size, each exactly once. An exception removes
    the partial file, unless the writer is resumable; a file that bore the name before is replaced
    only by a complete one. No HDF5 handle is open while rows are written, so worker processes may
    be forked in the block.

    Other processes may write rows of the same file, each with its own `partner`.

    Args:
        path: the final name.
        plan: what the cache will hold.
        overwrite: whether a file of that name, or an unfinished one of another plan, may be
            replaced.
        resumable: keep what is written when the block ends with an exception.
        resume: for a resumable writer: begin with the rows that one of the same plan left.

    Attributes:
        num_rows_kept: rows that an earlier writer had written, known once the block is entered.
    """

    def __init__(
        self,
        path: Path,
        plan: CachePlan,
        *,
        overwrite: bool = False,
        resumable: bool = False,
        resume: bool = True,
    ) -> None:
        super().__init__(path, plan)
        self.num_rows_kept = 0
        self._file = PartialFile(path, overwrite=overwrite)
        self._resumable = resumable
        self._resume = resumable and resume
        self._labelled: set[str] = set()
        self._ids: dict[str, list[str] | npt.NDArray[np.int64]] = {}

    def __enter__(self) -> Self:
        self._file.claim()
        try:
            self._open()
        except BaseException:
            self._close()
            if not self._file.is_new and find_journals(self._file.final):
                self._file.leave()
            self._file.discard()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        is_sealed = False
        try:
            if kind is None:
                self._seal()
                is_sealed = True
            elif self._resumable:
                self._adopt(self._blocks_of_partners())
        finally:
            self._close()
            if self._resumable and self.num_rows_written and not is_sealed:
                self._file.leave()
            else:
                self._file.discard()
                if self._resumable:
                    remove_journals(self._file.final)

    def partner(self, rank: int) -> "PartnerWriter":
        """What process `rank` of several, 1 or more, writes its rows with.

        Made from this writer's twin there: it must be entered after this one and left before.
        """
        return PartnerWriter(self._file, self.plan, rank)

    def write_labels(self, split: str, labels: npt.NDArray[np.integer]) -> None:
        """Labels (N,) of a split, all at once.

        Raises:
            CacheError: wrong shape or type, a label outside 0..K-1, or written before.
            CacheWriteError: the disk refuses.
        """
        num_samples = self._split(split).num_samples
        where = f"{self.path}: {split}, labels"
        if labels.shape != (num_samples,) or labels.dtype.kind not in "iu":
            raise CacheError(
                f"{where}: ({num_samples},) integers expected, got {labels.shape} {labels.dtype}; "
                "give the class id of every row"
            )
        if split in self._labelled:
            raise CacheError(f"{where}: labels once expected, got some a second time; give one")
        values = check_labels(labels.astype("<i8"), self.plan.num_classes, where=where)
        self._put(self._places[split_dataset(split, "labels")], 0, values)
        self._labelled.add(split)

    def write_ids(self, split: str, ids: Sequence[str] | npt.NDArray[np.integer]) -> None:
        """One id for each sample of a split, strings or integers; they are kept until sealing.

        Raises:
            CacheError: not planned, given before, wrong number, or strings the file cannot hold.
        """
        plan = self._split(split)
        where = f"{self.path}: {split}, ids"
        if not plan.has_ids or split in self._ids:
            planned = "a second time" if plan.has_ids else "though has_ids is False"
            raise CacheError(f"{where}: ids once, as planned, expected, got some {planned}")
        if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
            if ids.shape != (plan.num_samples,):
                raise CacheError(
                    f"{where}: ({plan.num_samples},) integers expected, got {ids.shape}; "
                    "give one for each row"
                )
            self._ids[split] = ids.astype(np.int64)
            return
        texts = [str(text) for text in ids]
        check_strings(texts, plan.num_samples, where=where)
        self._ids[split] = texts

    def _open(self) -> None:
        final = self._file.final
        check_space(self.path, self.plan.num_bytes - self._file.num_bytes_on_disk)
        claimed = self._claimed_blocks()
        if not claimed and (self._resumable or self._file.overwrite):
            remove_journals(final)
        self._descriptor = self._file.descriptor
        with write_errors(self.path):
            # All but the rows is written again: no byte of it has a checksum yet.
            self._places = create_file(self._descriptor, self.plan, keeps_rows=bool(claimed))
        self._adopt(claimed)
        self.num_rows_kept = self.num_rows_written
        if self._resumable:
            with write_errors(self.path):
                blocks = sorted(self._blocks)
                self._journal = Journal(journal_path(final, 0), self._header, blocks)
            remove_journals(final, of_partners_only=True)

    def _claimed_blocks(self) -> list[Block]:
        """What earlier writers say is in the partial file; nothing if it is begun anew."""
        final, where = self._file.final, str(self.path)
        journals = find_journals(final)
        check_no_partner(final, where=where)
        if not self._resumable:
            if journals and not self._file.is_new and not self._file.overwrite:
                raise CacheWriteError(
                    f"{where}: a free name expected, got an unfinished cache "
                    f"({self._file.partial.name}); give the command that began it once more, "
                    "choose another name or --overwrite"
                )
            return []
        try:
            # A journal without its file is what is left of a cache that has been sealed since.
            if not self._resume or self._file.is_new:
                for path in journals:
                    read_journal(path)  # one that is no journal is refused, never removed
                return []
            return claimed_blocks(journals, self._header, where=where)
        except CacheError:
            if self._file.overwrite:
                return []
            raise

    def _blocks_of_partners(self) -> list[Block]:
        journals = find_journals(self._file.final, of_partners_only=True)
        return claimed_blocks(journals, self._header, where=str(self.path))

    def _seal(self) -> None:
        for block in self._blocks_of_partners():
            self._take(block)
        self._check_complete()
        row_sums = self._checked_sums()
        with write_errors(self.path):
            seal_file(self._descriptor, self._ids, row_sums)
        self._file.publish()

    def _check_complete(self) -> None:
        """Refuse rows, labels or ids that are missing."""
        for (name, view), is_written in self._is_written.items():
            missing = np.flatnonzero(~is_written)
            if len(missing) > 0:
                named = ", ".join(str(row) for row in missing[:_NAMED_ROWS])
                more = ", ..." if len(missing) > _NAMED_ROWS else ""
                raise CacheError(
                    f"{self.path}: {name}, view {view}: all {len(is_written)} rows expected, got "
                    f"{len(missing)} missing (rows {named}{more}); write them before closing"
                )
        for name, split in self.plan.splits.items():
            if name not in self._labelled:
                raise CacheError(
                    f"{self.path}: {name}, labels: all {split.num_samples} rows expected, got "
                    "none; write them before closing"
                )
            if split.has_ids and name not in self._ids:
                raise CacheError(f"{self.path}: {name}: ids as planned expected, got none")


class PartnerWriter(RowWriter):
    """Writes blocks of a cache that process 0 has laid out and will seal: no MPI.

    Its `with` block lies inside that of process 0's resumable writer: enter it after that one,
    leave it before. Process 0 takes its blocks over from its journal when it seals the file. To
    share what is missing, all enter before anyone writes: `has_block` is the same for all then.

    Args:
        file: the names of the cache; it is not claimed.
        plan: what the cache will hold, the same in every process.
        rank: number of this process, at least 1.
    """

    def __init__(self, file: PartialFile, plan: CachePlan, rank: int) -> None:
        super().__init__(file.final, plan)
        self._partial = file.partial
        self._journal_path = journal_path(file.final, rank)
        self._lock = partner_lock(self._journal_path, where=str(file.final))
        self._num_adopted = 0

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            StaleCacheError: process 0 writes something else.
            CacheError: process 0 has no journal, or a damaged one.
            CacheWriteError: the files cannot be opened.
        """
        owner = journal_path(self.path, 0)
        # Process 0 has compared these with the bytes in the file.
        for block in claimed_blocks([owner], self._header, where=str(self.path)):
            self._take(block)
        self._num_adopted = self.num_rows_written
        with write_errors(self._partial):
            self._descriptor = os.open(self._partial, os.O_RDWR | getattr(os, "O_BINARY", 0))
            try:
                # Process 0 holds the lock of the file.
                with h5py.File(self._partial, "r", locking=False) as file:
                    self._places = {name: Extent.of(file[name]) for name in self.plan.row_arrays()}
                self._lock.take()
                self._journal = Journal(self._journal_path, self._header, ())
            except BaseException:
                self._leave()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.num_rows_written == self._num_adopted:
            self._journal_path.unlink(missing_ok=True)
        self._leave()

    def _leave(self) -> None:
        os.close(self._descriptor)
        self._close()
        self._lock.drop()


def write_arrays(
    path: Path, plan: CachePlan, arrays: Mapping[str, SplitArrays], *, overwrite: bool = False
) -> None:
    """Write whole arrays as a cache.

    Args:
        path: the final name.
        plan: what the cache will hold; `SplitArrays.plan` gives that of each split.
        arrays: the rows of each split.
        overwrite: whether a file of that name may be replaced.

    Raises:
        CacheError: the arrays are not as planned.
        CacheWriteError: the file cannot be written.
    """
    with CacheWriter(path, plan, overwrite=overwrite) as writer:
        for name, split in arrays.items():
            writer.write_labels(name, split.labels)
            if split.ids is not None:
                writer.write_ids(name, split.ids)
            stored = {"logits": split.logits, "features": split.features}
            rows = {kind: array for kind, array in stored.items() if array is not None}
            row_bytes = max(array[0, 0].nbytes for array in rows.values())
            for view in range(len(split.plan.views)):
                for start, stop in row_ranges(len(split.labels), row_bytes):
                    block = {kind: array[view, start:stop] for kind, array in rows.items()}
                    writer.write_block(name, view=view, start=start, **block)
