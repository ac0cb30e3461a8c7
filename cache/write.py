"""Write a cache: complete under its name, or not there.

V views, N samples, K classes, D features.

    claim `<name>.partial` -> lay out the file -> rows, labels, ids -> check, sum, seal -> rename
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from cache.convert import SplitArrays, check_labels
from cache.coverage import RowCoverage
from cache.errors import CacheError
from cache.extent import Extent
from cache.head import Head
from cache.layout import create_file, seal_file
from cache.partial import PartialFile, check_space, write_errors
from cache.plan import CachePlan, SplitPlan, check_strings
from cache.schema import VIEW_AUGMENTED, split_dataset
from cache.staging import write_at

__all__ = ["CacheWriter", "SplitPlan", "write_arrays"]


class CacheWriter:
    """Writes one cache inside a `with` block, whose normal end seals it.

    Rows may come in any order and in blocks of any size, each exactly once. An exception removes
    the partial file; a file that bore the name before is replaced only by a complete one. No HDF5
    handle is open while rows are written, so worker processes may be forked in the block.

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
        overwrite: whether an existing file of that name may be replaced.

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
    ) -> None:
        self.path = path
        self.plan = CachePlan(
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
        self._file = PartialFile(path, overwrite=overwrite)
        self._places: dict[str, Extent] = {}
        self._ids: dict[str, list[str] | npt.NDArray[np.int64]] = {}
        self._covered = {
            key: RowCoverage(split.num_samples, where=f"{path}: {key[0]}, {key[1]}")
            for name, split in splits.items()
            for key in [
                (name, "labels"),
                *((name, f"view {view}") for view in range(len(split.views))),
            ]
        }

    def __enter__(self) -> Self:
        self._file.claim()
        try:
            check_space(self.path, self.plan.num_bytes)
            with write_errors(self.path):
                self._places = create_file(self._file.descriptor, self.plan)
        except BaseException:
            self._file.discard()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._seal()
        finally:
            self._places = {}
            self._file.discard()

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
        self._covered[split, "labels"].claim(0, num_samples)
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
        widths = {
            "logits": self.plan.num_classes if plan.has_logits else None,
            "features": plan.num_features,
        }
        given = {"logits": logits, "features": features}
        blocks = {}
        for name, width in widths.items():
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
        self._covered[split, f"view {view}"].claim(start, start + sizes.pop())
        for name, block in blocks.items():
            self._put(split_dataset(split, name), view * plan.num_samples + start, block)

    def _split(self, name: str) -> SplitPlan:
        if not self._places:
            raise CacheError(f"{self.path}: an open writer expected, got a closed one; use `with`")
        if name not in self.plan.splits:
            raise CacheError(
                f"{self.path}: a planned split ({', '.join(self.plan.splits)}) expected, "
                f"got {name!r}; add it to the plan"
            )
        return self.plan.splits[name]

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
        is_finite = np.isfinite(stored)
        if not is_finite.all():
            row, column = np.argwhere(~is_finite)[0]
            raise CacheError(
                f"{where}, row {start + row}: finite {self.plan.dtype} expected, "
                f"got {block[row, column]} in column {column}; "
                "check the model, or store float32 if the number is only large"
            )
        return stored

    def _put(self, dataset: str, row: int, values: npt.NDArray[np.generic]) -> None:
        """Write C-contiguous rows at a row of the dataset, its views laid end to end."""
        place = self._places[dataset]
        num_bytes_per_row = values.nbytes // len(values)
        offset = place.offset + row * num_bytes_per_row
        content = values.reshape(-1).view(np.uint8).data
        with write_errors(self.path):
            write_at(self._file.descriptor, content, offset)

    def _seal(self) -> None:
        for covered in self._covered.values():
            covered.check_complete()
        for name, split in self.plan.splits.items():
            if split.has_ids and name not in self._ids:
                raise CacheError(f"{self.path}: {name}: ids as planned expected, got none")
        with write_errors(self.path):
            seal_file(self._file.descriptor, self._ids)
        self._file.publish()


def write_arrays(
    path: Path,
    *,
    class_counts: npt.NDArray[np.integer],
    head: Head,
    splits: Mapping[str, SplitArrays],
    dtype: Literal["float32", "float16"] = "float32",
    class_names: Sequence[str] | None = None,
    parts: Mapping[str, object],
    meta: Mapping[str, object],
    creator: str,
    libraries: Mapping[str, str],
    overwrite: bool = False,
) -> None:
    """Write whole arrays as a cache; all but `splits` as for `CacheWriter`.

    Raises:
        CacheError: the arrays contradict each other or the head.
        CacheWriteError: the file cannot be written.
    """
    plans = {name: _plan_of(arrays, where=f"{path}: {name}") for name, arrays in splits.items()}
    with CacheWriter(
        path,
        class_counts=class_counts,
        head=head,
        splits=plans,
        dtype=dtype,
        class_names=class_names,
        parts=parts,
        meta=meta,
        creator=creator,
        libraries=libraries,
        overwrite=overwrite,
    ) as writer:
        for name, arrays in splits.items():
            writer.write_labels(name, arrays.labels)
            if arrays.ids is not None:
                writer.write_ids(name, arrays.ids)
            for view, logits in enumerate(arrays.logits):
                features = None if arrays.features is None else arrays.features[view]
                writer.write_block(name, view=view, start=0, logits=logits, features=features)


def _plan_of(arrays: SplitArrays, *, where: str) -> SplitPlan:
    if arrays.logits.ndim != 3:
        raise CacheError(
            f"{where}: logits (V, N, K) expected, got {arrays.logits.shape}; add the axis of views"
        )
    num_views, num_samples, _ = arrays.logits.shape
    if arrays.features is not None and arrays.features.shape[:2] != (num_views, num_samples):
        raise CacheError(
            f"{where}: features ({num_views}, {num_samples}, D) expected, "
            f"got {arrays.features.shape}; give them for every row of the logits"
        )
    views = arrays.views or (VIEW_AUGMENTED,) * num_views
    if len(views) != num_views:
        raise CacheError(
            f"{where}: {num_views} names of views expected, got {len(views)}; name each view"
        )
    return SplitPlan(
        num_samples=num_samples,
        views=views,
        num_features=None if arrays.features is None else arrays.features.shape[2],
        has_ids=arrays.ids is not None,
    )
