"""Rows put at their places in an open file: each checked, in the stored type, and written once.

V views, N samples, K classes, D features.
"""

import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.coverage import RowCoverage
from marr_pipeline.cache.errors import CacheError
from marr_pipeline.cache.extent import Extent
from marr_pipeline.cache.finite import first_not_finite
from marr_pipeline.cache.journal import BlockRecord, Journal, plan_header
from marr_pipeline.cache.partial import write_errors
from marr_pipeline.cache.plan import CachePlan, SplitPlan
from marr_pipeline.cache.schema import split_dataset
from marr_pipeline.cache.staging import write_at


class RowWriter:
    """Writes blocks of rows while it is open, which its subclasses decide.

    Rows may come in any order and in blocks of any size, each exactly once. With a journal every
    block that is in the file is recorded, with the CRC-32 of its bytes.

    Args:
        path: the final name of the cache, for errors.
        plan: what the cache will hold.
    """

    def __init__(self, path: Path, plan: CachePlan) -> None:
        self.path = path
        self.plan = plan
        self._header = plan_header(plan)
        self._descriptor = -1
        self._places: Mapping[str, Extent] = {}
        self._journal: Journal | None = None
        self._blocks: list[BlockRecord] = []
        self._covered = {
            (name, view): RowCoverage(split.num_samples, where=f"{path}: {name}, view {view}")
            for name, split in plan.splits.items()
            for view in range(len(split.views))
        }

    @property
    def num_rows(self) -> int:
        """Rows of all views of all splits."""
        return sum(len(split.views) * split.num_samples for split in self.plan.splits.values())

    @property
    def num_rows_in_journal(self) -> int:
        """Those that a resumed writer begins with if this one stops here."""
        return sum(block.num_rows for block in self._blocks)

    def has_block(self, split: str, *, view: int, start: int, stop: int) -> bool:
        """Whether rows start..stop-1 of a view are in the file already."""
        return self._covered[split, view].has(start, stop)

    def write_block(
        self,
        split: str,
        *,
        view: int,
        start: int,
        logits: npt.NDArray[np.floating] | None,
        features: npt.NDArray[np.floating] | None,
    ) -> None:
        """Rows start..start+B-1 of one view.

        Args:
            split: name of a planned split.
            view: index of the view, in the order of the plan.
            start: first row.
            logits: (B, K), or None if the plan stores none.
            features: (B, D), or None if the plan stores none.

        Raises:
            CacheError: not as planned, written before, or not finite in the stored type.
            CacheWriteError: the disk refuses.
        """
        plan = self._split(split)
        where = f"{self.path}: {split}, view {view}"
        if not 0 <= view < len(plan.views):
            raise CacheError(
                f"{where}: views 0..{len(plan.views) - 1} expected, got {view}; see the plan"
            )
        given = {"logits": logits, "features": features}
        blocks = {}
        for name, width in self._widths(plan).items():
            block = given[name]
            if (block is None) != (width is None):
                verb = "none" if width is None else "some"
                raise CacheError(
                    f"{where}: {verb} of {name} expected, got the contrary; write as planned"
                )
            if block is not None and width is not None:
                blocks[name] = self._stored(block, width, start, where=f"{where}, {name}")
        sizes = {len(block) for block in blocks.values()}
        if len(sizes) > 1:
            raise CacheError(
                f"{where}: as many rows of logits as of features expected, "
                f"got {' and '.join(str(len(block)) for block in blocks.values())}; give both alike"
            )
        stop = start + sizes.pop()
        self._covered[split, view].claim(start, stop)
        crc = 0
        for name, block in blocks.items():
            self._put(split_dataset(split, name), view * plan.num_samples + start, block)
            if self._journal is not None:
                crc = zlib.crc32(_raw(block), crc)
        if self._journal is not None:
            record = BlockRecord(split=split, view=view, start=start, stop=stop, crc=crc)
            with write_errors(self.path):
                self._journal.append(record)
            self._blocks.append(record)

    def _close(self) -> None:
        """End the journal, which stays; rows are refused from here on."""
        if self._journal is not None:
            self._journal.close()
        self._journal, self._places, self._descriptor = None, {}, -1

    def _adopt(self, records: Iterable[BlockRecord]) -> None:
        """Take blocks that others wrote for written, each once."""
        for record in records:
            self._covered[record.split, record.view].claim(record.start, record.stop)
            self._blocks.append(record)

    def _adopt_intact(self, claimed: Iterable[BlockRecord]) -> None:
        """Of the blocks that a journal claims, adopt those whose bytes are in the file."""
        for record in claimed:
            covered = self._covered.get((record.split, record.view))
            is_new = covered is not None and covered.is_free(record.start, record.stop)
            if is_new and self._crc_in_file(record) == record.crc:
                self._adopt([record])

    def _check_bytes(self) -> None:
        """Refuse blocks whose bytes are no longer those that were written.

        Raises:
            CacheError: it names the first of them.
        """
        for record in self._blocks:
            found = self._crc_in_file(record)
            if found != record.crc:
                raise CacheError(
                    f"{self.path}: {record.split}, view {record.view}, rows {record.start}.."
                    f"{record.stop - 1}: the bytes that were written expected (CRC-32 "
                    f"{record.crc:08x}), got others ({found:08x}); the disk or another program "
                    "changed them: the same command writes these rows again"
                )

    def _crc_in_file(self, record: BlockRecord) -> int:
        """CRC-32 of a block as it lies in the file; of what there is if the file is too short."""
        crc = 0
        plan = self.plan.splits[record.split]
        row = record.view * plan.num_samples + record.start
        with write_errors(self.path):
            for name, width in self._widths(plan).items():
                if width is not None:
                    place = self._places[split_dataset(record.split, name)]
                    row_bytes = width * place.dtype.itemsize
                    offset = place.offset + row * row_bytes
                    content = os.pread(self._descriptor, record.num_rows * row_bytes, offset)
                    crc = zlib.crc32(content, crc)
        return crc

    def _split(self, name: str) -> SplitPlan:
        if not self._places:
            raise CacheError(f"{self.path}: an open writer expected, got a closed one; use `with`")
        if name not in self.plan.splits:
            raise CacheError(
                f"{self.path}: a planned split ({', '.join(self.plan.splits)}) expected, "
                f"got {name!r}; add it to the plan"
            )
        return self.plan.splits[name]

    def _widths(self, plan: SplitPlan) -> dict[str, int | None]:
        """K and D, None for what is not stored."""
        return {
            "logits": self.plan.num_classes if plan.has_logits else None,
            "features": plan.num_features,
        }

    def _stored(
        self, block: npt.NDArray[np.floating], width: int, start: int, *, where: str
    ) -> npt.NDArray[np.floating]:
        """The block (B, width) in the stored type, refused unless finite there."""
        if block.ndim != 2 or block.shape[1] != width or len(block) == 0:
            raise CacheError(
                f"{where}: shape (rows, {width}) expected, got {block.shape}; "
                "is the class list the planned one?"
            )
        with np.errstate(over="ignore"):  # what overflows is refused below
            stored = np.ascontiguousarray(block, dtype=np.dtype(self.plan.dtype).newbyteorder("<"))
        place = first_not_finite(stored)
        if place is not None:
            row, column = place
            raise CacheError(
                f"{where}, row {start + row}: finite {self.plan.dtype} expected, "
                f"got {block[row, column]} in column {column}; "
                "check the model, or store float32 if the number is only large"
            )
        return stored

    def _put(self, dataset: str, row: int, values: npt.NDArray[np.generic]) -> None:
        """Write C-contiguous rows at a row of the dataset, its views laid end to end."""
        place = self._places[dataset]
        offset = place.offset + row * (values.nbytes // len(values))
        with write_errors(self.path):
            write_at(self._descriptor, _raw(values), offset)


def _raw(values: npt.NDArray[np.generic]) -> memoryview:
    return values.reshape(-1).view(np.uint8).data
