"""Random views of images, a batch at a time, on the device the images are on.

Every image's view is a function of one row of `NUM_DRAWS` uniform numbers. The rows of a whole
view or epoch are drawn at once (`draw_augmentation`) and sliced, so what sample i becomes in
view v depends on the seed, v and i alone: not on batch size, batch order or device.

The order is that of the released MARC code: crop, flip, AutoAugment, Cutout, all before
normalisation; Cutout's holes are therefore black, AutoAugment's empty pixels grey.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from pipeline.data.autoaugment import autoaugment

CROP_Y, CROP_X, FLIP, POLICY, CUT_Y, CUT_X = range(6)
APPLY = slice(6, 8)
SIGN = slice(8, 10)
NUM_DRAWS = 10
# Last word of the seed: a cached view is never one that training has seen under the same seed.
TRAINING_STREAM, EXTRACTION_STREAM = 1, 2


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Which steps a view takes.

    Attributes:
        crop: a window of the image's own size after zero padding by an eighth of it
            (4 pixels at 32 x 32, 1 at 8 x 8).
        flip: left-right, with probability 1/2.
        autoaugment: the CIFAR-10 policy of Cubuk et al. (2019).
        cutout: one black square of half the image's side (16 at 32 x 32), centred anywhere
            and clipped at the border.
    """

    crop: bool = False
    flip: bool = False
    autoaugment: bool = False
    cutout: bool = False


def draw_augmentation(num_samples: int, *, generator: np.random.Generator) -> Tensor:
    """Uniform numbers (num_samples, NUM_DRAWS) float64 in [0, 1): row i is sample i's view."""
    return torch.from_numpy(generator.random((num_samples, NUM_DRAWS)))


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """What draws the augmentation of training epoch `epoch`."""
    return np.random.default_rng([seed, epoch, TRAINING_STREAM])


def view_generator(seed: int, view: int) -> np.random.Generator:
    """What draws the augmentation of extracted view `view`."""
    return np.random.default_rng([seed, view, EXTRACTION_STREAM])


def augment_batch(images: Tensor, draws: Tensor, augmentation: Augmentation) -> Tensor:
    """One view of each image.

    Args:
        images: (B, C, H, W) uint8.
        draws: (B, NUM_DRAWS), rows of `draw_augmentation`, on the images' device.
        augmentation: the steps to take.

    Returns:
        (B, C, H, W) uint8, on the same device.
    """
    if augmentation.crop or augmentation.flip:
        images = _crop_and_flip(images, draws, augmentation)
    if augmentation.autoaugment:
        images = autoaugment(images, draws[:, POLICY], draws[:, APPLY], draws[:, SIGN])
    if augmentation.cutout:
        images = _cut_out(images, draws)
    return images


def _crop_and_flip(images: Tensor, draws: Tensor, augmentation: Augmentation) -> Tensor:
    """One gather: row and column indices of the padded image, columns reversed for a flip."""
    batch, _, height, width = images.shape
    margin = height // 8 if augmentation.crop else 0
    padded = pad(images, (margin, margin, margin, margin))
    top = _uniform_int(draws[:, CROP_Y], 2 * margin + 1)
    left = _uniform_int(draws[:, CROP_X], 2 * margin + 1)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(batch, width)
    if augmentation.flip:
        columns = torch.where(draws[:, FLIP, None] < 0.5, width - 1 - columns, columns)
    columns = left[:, None] + columns
    sample = torch.arange(batch, device=images.device)[:, None, None]
    # Advanced indices around a slice come first: (B, H, W, C), which is channels-last memory.
    gathered = padded[sample, :, rows[:, :, None], columns[:, None, :]]
    return gathered.permute(0, 3, 1, 2)


def _cut_out(images: Tensor, draws: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    half = height // 4
    y = _uniform_int(draws[:, CUT_Y], height)[:, None]
    x = _uniform_int(draws[:, CUT_X], width)[:, None]
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    hit_row = (row >= y - half) & (row < y + half)
    hit_column = (column >= x - half) & (column < x + half)
    return images.masked_fill((hit_row[:, :, None] & hit_column[:, None, :])[:, None], 0)


def _uniform_int(draws: Tensor, bound: int) -> Tensor:
    """Integers 0..bound-1 from uniform `draws` in [0, 1)."""
    return (draws * bound).long()
