"""Further processes that write rows of one cache: each puts its own blocks in place, no MPI."""

import os
from types import TracebackType
from typing import Self

import h5py

from marr_pipeline.cache.extent import Extent
from marr_pipeline.cache.journal import Journal, read_journal
from marr_pipeline.cache.partial import PartialFile, write_errors
from marr_pipeline.cache.plan import CachePlan
from marr_pipeline.cache.remains import claimed_blocks, journal_path
from marr_pipeline.cache.rows import RowWriter


class PartnerWriter(RowWriter):
    """Writes blocks of a cache that process 0 has laid out and will seal.

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
        self._owner_path = journal_path(file.final, 0)
        self._journal_path = journal_path(file.final, rank)
        self._num_adopted = 0

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            StaleCacheError: process 0 writes something else.
            CacheError: process 0 has no journal, or a damaged one.
            CacheWriteError: the files cannot be opened.
        """
        owner = read_journal(self._owner_path)
        # Process 0 has compared these with the bytes in the file.
        self._adopt(claimed_blocks([owner], self._header, where=str(self.path)))
        self._num_adopted = len(self._blocks)
        with write_errors(self._partial):
            self._descriptor = os.open(self._partial, os.O_RDWR | os.O_CLOEXEC)
            try:
                # Process 0 holds the lock.
                with h5py.File(self._partial, "r", locking=False) as file:
                    self._places = {name: Extent.of(file[name]) for name in self.plan.row_arrays()}
                self._journal = Journal(self._journal_path, self._header, ())
            except BaseException:
                os.close(self._descriptor)
                self._close()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
        self._close()
        if len(self._blocks) == self._num_adopted:
            self._journal_path.unlink(missing_ok=True)
