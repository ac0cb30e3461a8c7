"""Small images, decoded and in memory: a split, and random views of it a batch at a time.

Every image's view is a function of one row of `NUM_DRAWS` uniform numbers, whatever its batch and
device. Nothing here reads a value back from the device: a GPU never waits.

The order is that of the released MARC code: crop, flip, AutoAugment, Cutout, all before
normalisation; Cutout's holes are therefore black, AutoAugment's empty pixels grey.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from marr_pipeline.data.autoaugment import STYLES, autoaugment
from marr_pipeline.data.framing import Framing
from marr_pipeline.data.picture import Remarks
from marr_pipeline.data.views import Augmentation, Batch, ImageSplit, ViewPass

CROP_Y, CROP_X, FLIP, POLICY, CUT_Y, CUT_X = range(6)
APPLY = slice(6, 8)
SIGN = slice(8, 10)
NUM_DRAWS = 10
TOGETHER = {"cpu": 1, "cuda": 8}
"""Batches whose views are drawn at once, by the kind of device. On a GPU AutoAugment and Cutout are
330 kernels whatever the size of a batch, as many as ResNet-32's forward and backward pass are, and
eight batches share them. A CPU has the pixels of one batch in its caches."""


@dataclass(frozen=True)
class ResidentSplit(ImageSplit):
    """One split, decoded and in memory; views are drawn on the device.

    Attributes:
        images: (N, C, H, W) uint8, contiguous; on the device `meta`, which has shapes alone, if
            they are not decoded.
        remarks: of Pillow, by row of the source.
        framing: of views, which are drawn at the images' own size and shown whole at another.
    """

    images: Tensor
    labels: Tensor
    source_indices: Tensor
    ids: tuple[str, ...] | None = None
    remarks: Remarks = field(default_factory=Remarks)
    framing: Framing | None = None
    is_streamed: ClassVar[bool] = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image, as it is handed out."""
        channels, height, width = self.images.shape[1:]
        if self.framing is not None:
            height = width = self.framing.size
        return channels, height, width

    def _batches(
        self, passes: Iterable[ViewPass], augmentation: Augmentation, device: torch.device
    ) -> Iterator[Batch]:
        images, labels = self.images.to(device), self.labels.to(device)  # all of them, as bytes
        for each in passes:
            rows = each.rows.to(device)
            draws = each.draw(self.source_indices, NUM_DRAWS)
            draws = None if draws is None else draws.to(device)
            together = TOGETHER[device.type]
            for first in range(0, len(each.bounds) - 1, together):
                bounds = each.bounds[first : first + together + 1]
                own = slice(bounds[0], bounds[-1])
                views = images[rows[own]]
                if draws is not None:
                    views = augment_batch(views, draws[own], augmentation)
                for start, stop in pairwise(bounds):
                    batch = views[start - bounds[0] : stop - bounds[0]]
                    if self.framing is not None:
                        batch = self.framing(batch)
                    yield batch, labels[rows[start:stop]]

    def framed(self, framing: Framing) -> "ResidentSplit":
        """The same images, shown whole at another size."""
        return replace(self, framing=framing.whole())

    def ordered(self, rows: Tensor) -> "ResidentSplit":
        """The same images in another order, copied."""
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            source_indices=self.source_indices[rows],
            ids=None if self.ids is None else tuple(self.ids[row] for row in rows.tolist()),
        )

    def content(self) -> npt.NDArray[np.uint8]:
        """The pixels (N, C, H, W)."""
        pixels: npt.NDArray[np.uint8] = self.images.numpy()
        return pixels


def augment_batch(images: Tensor, draws: Tensor, augmentation: Augmentation) -> Tensor:
    """One view of each image.

    Args:
        images: (B, C, H, W) uint8.
        draws: (B, NUM_DRAWS), of a `RandomView`, on the images' device.
        augmentation: the steps to take, of those for images in memory.

    Returns:
        (B, C, H, W) uint8, on the same device.
    """
    if augmentation.crop or augmentation.flip:
        images = _crop_and_flip(images, draws, augmentation)
    if augmentation.autoaugment is not None:
        images = autoaugment(
            images,
            draws[:, POLICY],
            draws[:, APPLY],
            draws[:, SIGN],
            style=STYLES[augmentation.autoaugment],
            select=images.device.type == "cpu",
        )
    if augmentation.cutout:
        images = _cut_out(images, draws)
    return images


def _crop_and_flip(images: Tensor, draws: Tensor, augmentation: Augmentation) -> Tensor:
    """One gather of the padded image's pixels by number, columns reversed for a flip."""
    _, channels, height, width = images.shape
    margin = height // 8 if augmentation.crop else 0
    padded = pad(images, (margin, margin, margin, margin))
    row = _uniform_int(draws[:, CROP_Y], 2 * margin + 1)[:, None]
    row = row + torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    if augmentation.flip:
        column = torch.where(draws[:, FLIP, None] < 0.5, width - 1 - column, column)
    column = column + _uniform_int(draws[:, CROP_X], 2 * margin + 1)[:, None]
    # By number, and not by row and column, it takes a quarter of the time on a CPU.
    places = (row[:, :, None] * padded.shape[3] + column[:, None, :]).flatten(1)
    gathered = padded.flatten(2).gather(2, places[:, None].expand(-1, channels, -1))
    return gathered.reshape(images.shape)


def _cut_out(images: Tensor, draws: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    half = height // 4
    y = _uniform_int(draws[:, CUT_Y], height)[:, None]
    x = _uniform_int(draws[:, CUT_X], width)[:, None]
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    hit_row = (row >= y - half) & (row < y + half)
    hit_column = (column >= x - half) & (column < x + half)
    kept = ~(hit_row[:, :, None] & hit_column[:, None, :])
    return images * kept[:, None]  # masked_fill takes twenty times as long on a CPU


def _uniform_int(draws: Tensor, bound: int) -> Tensor:
    """Integers 0..bound-1 from uniform `draws` in [0, 1)."""
    return (draws * bound).long()
