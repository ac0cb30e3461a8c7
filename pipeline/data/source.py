"""Where the images of a dataset are, before any is chosen or read.

A subset of a large folder decodes the subset alone. Small images of files are read into memory,
large ones when they are needed: 115,846 images of 64 x 64 pixels take 1.4 GB as bytes, of 224 x 224
pixels 17 GB.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.data.image_files import ImageFiles, fitted, for_every_row
from marr_pipeline.data.longtail import RowNumbers, hold_out, long_tail_counts, select_rows
from marr_pipeline.data.picture import AS_STORED, Decoding, Remarks
from marr_pipeline.data.resident import ResidentSplit
from marr_pipeline.data.streamed import CHANNELS, StreamedSplit
from marr_pipeline.data.views import ImageSplit
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.progress import Progress, silent

RESIDENT_UP_TO = 64  # pixels a side; larger images stay in their files
SMALLEST_SIZE = 8
MOST_THREADS = 4
MOST_PROCESSES = 16


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """Where images are and how to decode them; the fields are arguments of `load_dataset`.

    No source but the digits' draws anything from `data_seed`, and datasets of one size look at no
    `network_size`. `interpolation` is that of files read into memory.
    """

    data_root: Path | None = None
    data_seed: int = 0
    image_size: int | None = None
    lists: Mapping[str, Path] = field(default_factory=dict)
    path_prefixes: tuple[tuple[str, str], ...] = ()
    workers: int | None = None
    progress: Progress = silent
    network_size: int | None = None
    interpolation: str = "bilinear"
    val_is: str | None = None
    class_order: tuple[str, ...] | None = None
    decoding: Decoding = AS_STORED
    decodes: bool = True
    download: bool = False

    def root(self, expected: str) -> Path:
        """The data root, without which a ConfigError says what was `expected` there."""
        if self.data_root is None:
            raise ConfigError(f"--data-root: {expected} expected, got none; give it")
        return self.data_root

    def side(self, own: int) -> int:
        """The image size for a dataset whose own is `own`."""
        return self.image_size or self.network_size or own


@dataclass(frozen=True, kw_only=True)
class SplitSource(ABC):
    """One split as its source has it.

    Attributes:
        labels: (M,) int64, of every row of the source.
        candidates: ascending rows (m,) that belong to this split; None means all.
    """

    labels: npt.NDArray[np.int64]
    candidates: RowNumbers | None = None

    @property
    def rows(self) -> RowNumbers:
        """The split's own rows (m,), ascending."""
        return np.arange(len(self.labels)) if self.candidates is None else self.candidates

    @abstractmethod
    def load(self, rows: RowNumbers) -> ImageSplit:
        """The images of `rows` (N,), in that order."""


@dataclass(frozen=True, kw_only=True)
class ArraySource(SplitSource):
    """A split that its source hands over decoded.

    Attributes:
        images: (M, C, H, W) uint8, of every row of the source.
    """

    images: Tensor

    def load(self, rows: RowNumbers) -> ImageSplit:
        """The images of `rows` (N,), in memory."""
        labels, indices = torch.from_numpy(self.labels[rows]), torch.from_numpy(rows)
        return ResidentSplit(self.images[indices].contiguous(), labels, indices)


@dataclass(frozen=True, kw_only=True)
class FileSource(SplitSource):
    """A split in files.

    Attributes:
        files: one a row.
        image_size: side in pixels that the images are brought to.
        name: of the split, for progress.
        request: workers and progress.
    """

    files: ImageFiles
    image_size: int
    name: str
    request: SourceRequest

    def __post_init__(self) -> None:
        if self.image_size < SMALLEST_SIZE:
            raise ConfigError(
                f"image size: at least {SMALLEST_SIZE} pixels expected, got {self.image_size}; "
                "the backbone halves twice"
            )

    def load(self, rows: RowNumbers) -> ImageSplit:
        """The images of `rows` (N,); small ones have no pixels where the request decodes none.

        Raises:
            DataError: a file is missing, or one that is read now is broken.
        """
        self.files.require_present(rows)
        labels, indices = torch.from_numpy(self.labels[rows]), torch.from_numpy(rows)
        if self.image_size > RESIDENT_UP_TO:
            workers = self.request.workers
            return StreamedSplit(
                files=self.files,
                labels=labels,
                source_indices=indices,
                image_size=self.image_size,
                workers=min(MOST_PROCESSES, num_cores()) if workers is None else workers,
            )
        ids = tuple(self.files.ids[row] for row in rows)
        shape = (CHANNELS, self.image_size, self.image_size)
        if not self.request.decodes:
            shapes = torch.empty(len(rows), *shape, dtype=torch.uint8, device="meta")
            return ResidentSplit(shapes, labels, indices, ids)
        images = np.empty((len(rows), *shape), dtype=np.uint8)

        def decode(place: int) -> None:
            image = self.files.open(rows[place])
            pixels = fitted(image, self.image_size, self.request.interpolation)
            images[place] = pixels.transpose(2, 0, 1)

        remarks = self._for_every_row(decode, rows, "images")
        return ResidentSplit(torch.from_numpy(images), labels, indices, ids, remarks)

    def unreadable(self) -> RowNumbers:
        """Those of the split's rows whose file is missing or broken; every file is decoded."""
        rows = self.rows
        is_bad = np.zeros(len(rows), dtype=np.bool_)

        def check(place: int) -> None:
            try:
                self.files.open(rows[place])
            except DataError:
                is_bad[place] = True

        self._for_every_row(check, rows, "images checked")
        return rows[is_bad]

    def _for_every_row(self, work: Callable[[int], None], rows: RowNumbers, what: str) -> Remarks:
        return for_every_row(
            work,
            rows,
            threads=self.request.workers or min(MOST_THREADS, num_cores()),
            progress=self.request.progress,
            note=f"{self.name} {what}",
        )


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """All splits of a dataset, undecoded.

    Attributes:
        name: as the user typed it; everything else that is known of it is its protocol.
        class_names: K names in label order.
        splits: by name.
        skipped: per split, the ids of its unreadable images, which are no candidates.
        notes: what a user should know of how classes and files were read.
        warnings: what a user should look at.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, SplitSource]
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def draw_rows(
        self, imbalance_ratio: float | None, *, tune_fraction: float, data_seed: int
    ) -> dict[str, RowNumbers]:
        """The rows of every split: the tail of `train`, of which a part may become `tune`.

        Raises:
            ConfigError: a setting out of range.
            DataError: the images do not allow the ratio.
        """
        rows = {name: split.rows for name, split in self.splits.items()}
        train, labels = rows["train"], self.splits["train"].labels
        if imbalance_ratio is not None:
            available = np.bincount(labels[train], minlength=len(self.class_names))
            counts = long_tail_counts(available, imbalance_ratio, class_names=self.class_names)
            train = train[select_rows(labels[train], counts, data_seed)]
        if tune_fraction:
            held = hold_out(labels[train], tune_fraction, data_seed)
            rows["tune"], train = train[held], np.delete(train, held)
        return {**rows, "train": train}

    def load(self, rows: Mapping[str, RowNumbers]) -> dict[str, ImageSplit]:
        """The images of those rows of each split; a split that is not there comes out of `train`.

        Raises:
            DataError: rows of another source, or an image that cannot be read.
        """
        loaded = {}
        for name, own in rows.items():
            split = self.splits.get(name, self.splits["train"])
            if len(own) and not 0 <= int(own.min()) <= int(own.max()) < len(split.labels):
                raise DataError(
                    f"{self.name}, split {name}: the checkpoint's rows must lie in "
                    f"0..{len(split.labels) - 1}, got {own.min()}..{own.max()}; point --data-root "
                    "at the data it was trained on"
                )
            loaded[name] = split.load(np.asarray(own, dtype=np.int64))
        return loaded


def without_unreadable(source: DatasetSource) -> DatasetSource:
    """`source` whose splits have only images that can be read; `skipped` lists the others.

    Every image is decoded once for it, before any is chosen: which images a network meets has
    to be settled before it is trained.
    """
    splits: dict[str, SplitSource] = dict(source.splits)
    skipped: Mapping[str, tuple[str, ...]] = {}
    for name, split in source.splits.items():
        if isinstance(split, FileSource):
            bad = split.unreadable()
            if len(bad):
                kept = np.setdiff1d(split.rows, bad, assume_unique=True)
                splits[name] = replace(split, candidates=kept)
                skipped = {**skipped, name: tuple(split.files.ids[row] for row in bad)}
    return replace(source, splits=splits, skipped=skipped)


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
