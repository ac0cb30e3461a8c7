"""What phase one asks of a split: batches of its images, each in one view.

Resident images (`images.ImageSplit`) and streamed ones (`stream.StreamedSplit`) answer alike, and
the answer is a function of the request alone: not of batches, workers or device.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.data.augment import NUM_DRAWS, Augmentation, draw_epoch, draw_view

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) uint8 and their labels (B,) int64, both on the device asked for."""


@dataclass(frozen=True, kw_only=True)
class RandomView:
    """Which random view: image i of it is a function of these three and of i's source index.

    Attributes:
        purpose: views for training and views for a cache are drawn apart.
        seed: 0 to 2^64 - 1.
        number: the epoch, or the index of the cached view.
    """

    purpose: Literal["training", "cache"]
    seed: int
    number: int

    def draw(self, source_indices: Tensor, *, num_draws: int = NUM_DRAWS) -> Tensor:
        """Uniform numbers (M, num_draws) float64 in [0, 1), a row for each of (M,) indices."""
        if self.purpose == "training":
            return draw_epoch(
                source_indices, seed=self.seed, epoch=self.number, num_draws=num_draws
            )
        return draw_view(source_indices, seed=self.seed, view=self.number, num_draws=num_draws)


@dataclass(frozen=True, kw_only=True)
class ViewPass:
    """M images of a split, in batches, all in the same view.

    Attributes:
        rows: (M,) int64, rows of the split in the order they are wanted.
        bounds: batch b is rows[bounds[b] : bounds[b + 1]].
        view: None leaves the images clean.
    """

    rows: Tensor
    bounds: tuple[int, ...]
    view: RandomView | None


class Split(Protocol):
    """One split of a dataset.

    N images of C channels and H x W pixels.
    """

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""

    @property
    def source_indices(self) -> Tensor:
        """(N,) int64, the row of each image in its source's own order."""

    @property
    def ids(self) -> tuple[str, ...] | None:
        """N file paths relative to the data root; None where the source has no files."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""

    def __len__(self) -> int:
        """N."""

    def batches(
        self, passes: Iterable[ViewPass], *, augmentation: Augmentation, device: torch.device
    ) -> Iterator[Batch]:
        """Every batch of every pass, in order; passes are taken one at a time as they are needed.

        Args:
            passes: which images, in which views.
            augmentation: what happens to the images of the passes that have a view.
            device: where the result is wanted.

        Raises:
            ConfigError: an augmentation for images of another kind.
            DataError: an image cannot be read; names it.
        """

    def content(self) -> npt.NDArray[np.uint8]:
        """Bytes that stand for the images, for a fingerprint."""
