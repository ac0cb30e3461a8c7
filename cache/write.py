"""Write a cache: complete under its name, or not there.

V views, N samples, K classes, D features.

    claim `<name>.partial` -> lay out the file -> rows, labels, ids -> check, sum, seal -> rename

A resumable writer keeps a journal (see `journal`) beside the partial file. When it stops early it
leaves both, and the next one of the same plan begins with every block whose bytes are in the file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.coverage import RowCoverage
from marr_pipeline.cache.errors import CacheError, CacheWriteError
from marr_pipeline.cache.head import Head
from marr_pipeline.cache.journal import BlockRecord, Journal, read_journal
from marr_pipeline.cache.layout import create_file, seal_file
from marr_pipeline.cache.partial import PartialFile, check_space, write_errors
from marr_pipeline.cache.partner import PartnerWriter
from marr_pipeline.cache.plan import CachePlan, SplitPlan, check_labels, check_strings
from marr_pipeline.cache.remains import (
    check_no_owner,
    claimed_blocks,
    find_journals,
    journal_path,
    remove_journals,
)
from marr_pipeline.cache.rows import RowWriter
from marr_pipeline.cache.schema import split_dataset

__all__ = ["CacheWriter", "SplitPlan"]


class CacheWriter(RowWriter):
    """Writes one cache inside a `with` block, whose normal end seals it.

    Rows may come in any order and in blocks of any size, each exactly once. An exception removes
    the partial file, unless the writer is resumable; a file that bore the name before is replaced
    only by a complete one. No HDF5 handle is open while rows are written, so worker processes may
    be forked in the block.

    Other processes may write rows of the same file, each with its own `partner`.

    Args:
        path: the final name.
        class_counts: (K,) integers, training images per class.
        head: the head that makes the logits.
        splits: rows and views of each split.
        dtype: how logits and features are stored.
        class_names: K names, or None.
        parts: what the cache is made from: JSON values and digests, never paths or times.
        meta: JSON values, each stored as `/meta/<key>`.
        creator: program and version that writes.
        libraries: library name to version; h5py's and HDF5's are added.
        overwrite: whether a file of that name, or an unfinished one of another plan, may be
            replaced.
        resumable: keep what is written when the block ends with an exception.
        resume: for a resumable writer: begin with the rows that one of the same plan left.

    Attributes:
        num_rows_kept: rows that an earlier writer had written, known once the block is entered.

    Raises:
        CacheError: the settings contradict each other.
    """

    def __init__(
        self,
        path: Path,
        *,
        class_counts: npt.NDArray[np.integer],
        head: Head,
        splits: Mapping[str, SplitPlan],
        dtype: Literal["float32", "float16"] = "float32",
        class_names: Sequence[str] | None = None,
        parts: Mapping[str, object],
        meta: Mapping[str, object],
        creator: str,
        libraries: Mapping[str, str],
        overwrite: bool = False,
        resumable: bool = False,
        resume: bool = True,
    ) -> None:
        plan = CachePlan(
            class_counts=class_counts,
            head=head,
            splits=splits,
            dtype=dtype,
            class_names=class_names,
            parts=parts,
            meta=meta,
            creator=creator,
            libraries=libraries,
        )
        super().__init__(path, plan)
        self.num_rows_kept = 0
        self._file = PartialFile(path, overwrite=overwrite)
        self._resumable = resumable
        self._resume = resumable and resume
        self._ids: dict[str, list[str] | npt.NDArray[np.int64]] = {}
        self._labelled = {
            name: RowCoverage(split.num_samples, where=f"{path}: {name}, labels")
            for name, split in splits.items()
        }

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
                self._adopt_intact(self._blocks_of_partners())
        finally:
            self._close()
            if self._resumable and self._blocks and not is_sealed:
                self._file.leave()
            else:
                self._file.discard()
                if self._resumable:
                    remove_journals(self._file.final)

    def partner(self, rank: int) -> PartnerWriter:
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
        values = check_labels(labels.astype("<i8"), self.plan.num_classes, where=where)
        self._labelled[split].claim(0, num_samples)
        self._put(split_dataset(split, "labels"), 0, values)

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
        self._adopt_intact(claimed)
        self.num_rows_kept = self.num_rows_in_journal
        if self._resumable:
            with write_errors(self.path):
                self._journal = Journal(journal_path(final, 0), self._header, self._blocks)
            remove_journals(final, of_partners_only=True)

    def _claimed_blocks(self) -> list[BlockRecord]:
        """What earlier writers say is in the partial file; nothing if it is begun anew."""
        final, where = self._file.final, str(self.path)
        journals = find_journals(final)
        check_no_owner(journals, where=where)
        if not self._resumable:
            if journals and not self._file.is_new and not self._file.overwrite:
                raise CacheWriteError(
                    f"{where}: a free name expected, got an unfinished cache "
                    f"({self._file.partial.name}); give the command that began it once more, "
                    "choose another name or --overwrite"
                )
            return []
        try:
            stored = [read_journal(path) for path in journals]
            # A journal without its file is what is left of a cache that has been sealed since.
            if not self._resume or self._file.is_new:
                return []
            return claimed_blocks(stored, self._header, where=where)
        except CacheError:
            if self._file.overwrite:
                return []
            raise

    def _blocks_of_partners(self) -> list[BlockRecord]:
        journals = find_journals(self._file.final, of_partners_only=True)
        stored = [read_journal(path) for path in journals]
        return claimed_blocks(stored, self._header, where=str(self.path))

    def _seal(self) -> None:
        self._adopt(self._blocks_of_partners())
        for covered in (*self._labelled.values(), *self._covered.values()):
            covered.check_complete()
        for name, split in self.plan.splits.items():
            if split.has_ids and name not in self._ids:
                raise CacheError(f"{self.path}: {name}: ids as planned expected, got none")
        self._check_bytes()
        with write_errors(self.path):
            seal_file(self._descriptor, self._ids)
        self._file.publish()
