"""Rows put at their places in an open file: each checked, in the stored type, and written once.

V views, N samples, K classes, D features.
"""

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError, write_errors
from marr_pipeline.cache.extent import Extent, read_at, write_at
from marr_pipeline.cache.head import first_not_finite
from marr_pipeline.cache.journal import Block, Journal, plan_header
from marr_pipeline.cache.plan import CachePlan, SplitPlan
from marr_pipeline.cache.schema import CHECKSUM_BYTES, split_dataset


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
        self._blocks: list[Block] = []
        self._is_written = {
            (name, view): np.zeros(split.num_samples, dtype=np.bool_)
            for name, split in plan.splits.items()
            for view in range(len(split.views))
        }

    @property
    def num_rows(self) -> int:
        """Rows of all views of all splits."""
        return sum(len(split.views) * split.num_samples for split in self.plan.splits.values())

    @property
    def num_rows_written(self) -> int:
        """Those that are in the file; a resumed writer begins with them if this one stops here."""
        return sum(block.num_rows for block in self._blocks)

    def has_block(self, split: str, *, view: int, start: int, stop: int) -> bool:
        """Whether rows start..stop-1 of a view are in the file already."""
        return bool(self._is_written[split, view][start:stop].all())

    def write_block(
        self,
        split: str,
        *,
        view: int,
        start: int,
        logits: npt.NDArray[np.floating] | None = None,
        features: npt.NDArray[np.floating] | None = None,
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
        places = self._places_of(split)
        stored = {}
        for name, block in {"logits": logits, "features": features}.items():
            if (block is None) != (name not in places):
                verb = "some" if name in places else "none"
                raise CacheError(
                    f"{where}: {verb} of {name} expected, got the contrary; write as planned"
                )
            if block is not None:
                stored[name] = _stored(block, places[name], start, where=f"{where}, {name}")
        sizes = {len(block) for block in stored.values()}
        if len(sizes) > 1:
            raise CacheError(
                f"{where}: as many rows of logits as of features expected, "
                f"got {' and '.join(str(len(block)) for block in stored.values())}; give both alike"
            )
        stop = start + sizes.pop()
        self._check_free(split, view, start, stop)
        crc = 0
        for name, block in stored.items():
            self._put(places[name], view * plan.num_samples + start, block)
            crc = zlib.crc32(_raw(block), crc)
        finished = Block(split=split, view=view, start=start, stop=stop, crc=crc)
        if self._journal is not None:
            with write_errors(self.path):
                self._journal.append(finished)
        self._take(finished)

    def _close(self) -> None:
        """End the journal, which stays; rows are refused from here on."""
        if self._journal is not None:
            self._journal.close()
        self._journal, self._places, self._descriptor = None, {}, -1

    def _check_free(self, split: str, view: int, start: int, stop: int) -> None:
        """Refuse rows that do not exist or are written."""
        where, rows = f"{self.path}: {split}, view {view}", self._is_written[split, view]
        if not 0 <= start < stop <= len(rows):
            raise CacheError(
                f"{where}: rows within 0..{len(rows) - 1} expected, got {start}..{stop - 1}; "
                "write each row at its own place"
            )
        if rows[start:stop].any():
            raise CacheError(
                f"{where}: each row once expected, got row {start + int(rows[start:stop].argmax())}"
                " a second time; does the loader pad or repeat samples?"
            )

    def _take(self, block: Block) -> None:
        """Take a block for written."""
        self._check_free(block.split, block.view, block.start, block.stop)
        self._is_written[block.split, block.view][block.start : block.stop] = True
        self._blocks.append(block)

    def _adopt(self, claimed: Iterable[Block]) -> None:
        """Of the blocks that journals claim, take those whose bytes are in the file for written."""
        for block in claimed:
            rows = self._is_written[block.split, block.view][block.start : block.stop]
            if not rows.any() and self._crc_in_file(block) == block.crc:
                self._take(block)

    def _crc_in_file(self, block: Block) -> int:
        """CRC-32 of a block as it lies in the file; of what there is if the file is too short."""
        crc = 0
        row = block.view * self.plan.splits[block.split].num_samples + block.start
        with write_errors(self.path):
            for place in self._places_of(block.split).values():
                size = block.num_rows * place.row_bytes
                content = read_at(self._descriptor, size, place.offset + row * place.row_bytes)
                crc = zlib.crc32(content, crc)
        return crc

    def _checked_sums(self) -> dict[str, list[int]]:
        """CRC-32 of every 4 MiB of each dataset of rows, read once, and compared block by block."""
        sums: dict[str, list[int]] = {}
        for split in self.plan.splits:
            # Complete: one lies behind the other.
            blocks = sorted(block for block in self._blocks if block.split == split)
            found = [0] * len(blocks)
            for name, place in self._places_of(split).items():
                ends = list(accumulate(block.num_rows * place.row_bytes for block in blocks))
                starts = range(0, place.num_bytes, CHECKSUM_BYTES)
                own = sums[split_dataset(split, name)] = [0] * len(starts)
                for start, stop in pairwise(sorted({*starts, *ends})):
                    with write_errors(self.path):
                        content = read_at(self._descriptor, stop - start, place.offset + start)
                    stretch, index = start // CHECKSUM_BYTES, bisect_right(ends, start)
                    own[stretch] = zlib.crc32(content, own[stretch])
                    found[index] = zlib.crc32(content, found[index])
            for block, crc in zip(blocks, found, strict=True):
                if crc != block.crc:
                    raise CacheError(
                        f"{self.path}: {split}, view {block.view}, rows {block.start}.."
                        f"{block.stop - 1}: the bytes that were written expected (CRC-32 "
                        f"{block.crc:08x}), got others ({crc:08x}); the disk or another program "
                        "changed them: the same command writes these rows again"
                    )
        return sums

    def _split(self, name: str) -> SplitPlan:
        if not self._places:
            raise CacheError(f"{self.path}: an open writer expected, got a closed one; use `with`")
        if name not in self.plan.splits:
            raise CacheError(
                f"{self.path}: a planned split ({', '.join(self.plan.splits)}) expected, "
                f"got {name!r}; add it to the plan"
            )
        return self.plan.splits[name]

    def _places_of(self, split: str) -> dict[str, Extent]:
        """Where the rows of a split lie: its logits, its features or both, in this order."""
        paths = {name: split_dataset(split, name) for name in ("logits", "features")}
        return {name: self._places[path] for name, path in paths.items() if path in self._places}

    def _put(self, place: Extent, row: int, values: npt.NDArray[np.generic]) -> None:
        """Write C-contiguous rows at a row of the dataset, its views laid end to end."""
        offset = place.offset + row * (values.nbytes // len(values))
        with write_errors(self.path):
            write_at(self._descriptor, _raw(values), offset)


def _stored(
    block: npt.NDArray[np.floating], place: Extent, start: int, *, where: str
) -> npt.NDArray[np.floating]:
    """The block (B, width) in the stored type, refused unless finite there."""
    width = place.shape[-1]
    if block.ndim != 2 or block.shape[1] != width or len(block) == 0:
        raise CacheError(
            f"{where}: shape (rows, {width}) expected, got {block.shape}; "
            "is the class list the planned one?"
        )
    with np.errstate(over="ignore"):  # what overflows is refused below
        stored: npt.NDArray[np.floating] = np.ascontiguousarray(block, dtype=place.dtype)
    bad = first_not_finite(stored)
    if bad is not None:
        row, column = bad
        raise CacheError(
            f"{where}, row {start + row}: finite {place.dtype.name} expected, "
            f"got {block[row, column]} in column {column}; "
            "check the model, or store float32 if the number is only large"
        )
    return stored


def _raw(values: npt.NDArray[np.generic]) -> memoryview:
    return values.reshape(-1).view(np.uint8).data
