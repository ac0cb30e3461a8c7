"""Where the images of a dataset are, before any is chosen or read.

A subset of a large folder decodes the subset alone. Small images of files are read into memory,
large ones when they are needed: 115,846 images of 64 x 64 pixels take 1.4 GB as bytes, of 224 x 224
pixels 17 GB.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.data.image_files import ImageFiles, find_unreadable, read_images
from marr_pipeline.data.longtail import RowNumbers
from marr_pipeline.data.resident import ResidentSplit
from marr_pipeline.data.streamed import StreamedSplit
from marr_pipeline.data.views import ImageSplit
from marr_pipeline.errors import ConfigError
from marr_pipeline.progress import Progress

RESIDENT_UP_TO = 64  # pixels a side; larger images stay in their files
SMALLEST_SIZE = 8
MOST_THREADS = 4
MOST_PROCESSES = 16


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """Where images are and how to decode them; the fields are arguments of `load_dataset`.

    No source but the digits' draws anything from `data_seed`, and datasets of one size look at no
    `network_size`.
    """

    data_root: Path | None
    data_seed: int
    image_size: int | None
    lists: Mapping[str, Path]
    path_prefixes: tuple[tuple[str, str], ...]
    workers: int | None
    progress: Progress
    network_size: int | None = None

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
        """The images of `rows` (N,).

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
        images = read_images(
            [self.files.path(row) for row in rows],
            self.image_size,
            threads=self._threads,
            progress=self.request.progress,
            note=f"{self.name} images",
        )
        return ResidentSplit(images, labels, indices, tuple(self.files.ids[row] for row in rows))

    def unreadable(self) -> RowNumbers:
        """Those of the split's rows whose file is missing or broken; every file is decoded."""
        rows = self.rows
        is_bad = find_unreadable(
            [self.files.path(row) for row in rows],
            threads=self._threads,
            progress=self.request.progress,
            note=f"{self.name} images checked",
        )
        return rows[is_bad]

    @property
    def _threads(self) -> int:
        return self.request.workers or min(MOST_THREADS, num_cores())


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """All splits of a dataset, undecoded.

    Attributes:
        name: as the user typed it; everything else that is known of it is its protocol.
        class_names: K names in label order.
        splits: by name.
        skipped: per split, the ids of its unreadable images, which are no candidates.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, SplitSource]
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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
