"""A split whose images are files: small ones are read into memory, large ones when they are needed.

115,846 images of 64 x 64 pixels take 1.4 GB as bytes, of 224 x 224 pixels 17 GB.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from marr_pipeline.data.decode import find_unreadable, read_images
from marr_pipeline.data.image_files import ImageFiles
from marr_pipeline.data.images import ImageSplit
from marr_pipeline.data.rows import Rows
from marr_pipeline.data.source import DatasetSource, SourceRequest, SplitSource
from marr_pipeline.data.stream import StreamedSplit
from marr_pipeline.data.views import Split
from marr_pipeline.errors import ConfigError

RESIDENT_UP_TO = 64
"""Side in pixels."""

SMALLEST_SIZE = 8
MOST_THREADS = 4
MOST_PROCESSES = 16


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

    def load(self, rows: Rows) -> Split:
        """The images of `rows` (N,).

        Raises:
            DataError: a file is missing, or one that is read now is broken.
        """
        self.files.require_present(rows)
        labels, indices = torch.from_numpy(self.labels[rows]), torch.from_numpy(rows)
        if is_streamed(self.image_size):
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
        return ImageSplit(images, labels, indices, tuple(self.files.ids[row] for row in rows))

    def unreadable(self) -> Rows:
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


def is_streamed(image_size: int) -> bool:
    """Whether images of this side stay in their files."""
    return image_size > RESIDENT_UP_TO


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
