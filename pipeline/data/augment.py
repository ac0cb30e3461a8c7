"""Random views of images, a batch at a time, on the device the images are on.

Every image's view is a function of one row of `NUM_DRAWS` uniform numbers, whatever its batch and
device. The row is a function of the seed, of the epoch or the cached view, and of the image's index
in its source alone, so that every subset of a dataset and every order of its images has the same
views. Nothing here reads a value back from the device: a GPU never waits.

The order is that of the released MARC code: crop, flip, AutoAugment, Cutout, all before
normalisation; Cutout's holes are therefore black, AutoAugment's empty pixels grey.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from marr_pipeline.data.autoaugment import AutoAugmentStyle, autoaugment
from marr_pipeline.data.philox import uniforms
from marr_pipeline.errors import ConfigError

CROP_Y, CROP_X, FLIP, POLICY, CUT_Y, CUT_X = range(6)
APPLY = slice(6, 8)
SIGN = slice(8, 10)
NUM_DRAWS = 10
VIEW_GENERATOR = "philox4x32-10"
_FIRST_EPOCH = 2**31  # streams below it are cached views


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Which steps a view takes; those of images in memory and of large ones do not mix.

    Attributes:
        crop: a window of the image's own size after zero padding by an eighth of it
            (4 pixels at 32 x 32, 1 at 8 x 8).
        flip: left-right, with probability 1/2.
        autoaugment: the CIFAR-10 policy of Cubuk et al. (2019), as one code or another has it.
        cutout: one black square of half the image's side (16 at 32 x 32), centred anywhere
            and clipped at the border.
        resized_crop: a random part of a large image, resized (`large`); without it the centre.
        jitter: brightness, contrast and saturation of a large image, each by up to 40 %.
    """

    crop: bool = False
    flip: bool = False
    autoaugment: AutoAugmentStyle | None = None
    cutout: bool = False
    resized_crop: bool = False
    jitter: bool = False

    def __post_init__(self) -> None:
        if self.needs_memory and self.needs_files:
            raise ConfigError(
                "augmentation: steps for images in memory (crop, autoaugment, cutout) or for large "
                f"ones (resized_crop, jitter) expected, got both in {self}; leave some out"
            )

    @property
    def needs_memory(self) -> bool:
        """Whether a step is for batches of small images only."""
        return self.crop or self.cutout or self.autoaugment is not None

    @property
    def needs_files(self) -> bool:
        """Whether a step is for large images, one at a time, only."""
        return self.resized_crop or self.jitter


def draw_view(
    source_indices: Tensor, *, seed: int, view: int, num_draws: int = NUM_DRAWS
) -> Tensor:
    """The uniform numbers of cached view `view`.

    Args:
        source_indices: (N,) int64, the index of each image in its source.
        seed: of the extraction, 0 to 2^64 - 1.
        view: index of the view, below 2^31.
        num_draws: numbers an image.

    Returns:
        (N, num_draws) float64 in [0, 1) on the CPU; row i is a function of seed, view and
        source_indices[i] alone.

    Raises:
        ConfigError: the seed does not fit 64 bits.
    """
    return _draw(source_indices, seed=seed, stream=view, num_draws=num_draws)


def draw_epoch(
    source_indices: Tensor, *, seed: int, epoch: int, num_draws: int = NUM_DRAWS
) -> Tensor:
    """The uniform numbers of training epoch `epoch`, apart from those of every cached view.

    As `draw_view`, with the epoch, below 2^31, in place of the view.
    """
    return _draw(source_indices, seed=seed, stream=_FIRST_EPOCH + epoch, num_draws=num_draws)


def _draw(source_indices: Tensor, *, seed: int, stream: int, num_draws: int) -> Tensor:
    if not 0 <= seed < 2**64:
        raise ConfigError(f"seed: 0 to 2^64 - 1 expected, got {seed}; choose another")
    drawn = uniforms(source_indices.numpy(), seed=seed, stream=stream, num_draws=num_draws)
    return torch.from_numpy(drawn)


def augment_batch(images: Tensor, draws: Tensor, augmentation: Augmentation) -> Tensor:
    """One view of each image.

    Args:
        images: (B, C, H, W) uint8.
        draws: (B, NUM_DRAWS), of `draw_epoch` or `draw_view`, on the images' device.
        augmentation: the steps to take.

    Returns:
        (B, C, H, W) uint8, on the same device.

    Raises:
        ConfigError: a step for large images.
    """
    if augmentation.needs_files:
        raise ConfigError(
            "augmentation: crop, flip, autoaugment and cutout expected for images in memory, got "
            f"{augmentation}; choose one that is not a resized-crop augmentation"
        )
    if augmentation.crop or augmentation.flip:
        images = _crop_and_flip(images, draws, augmentation)
    if augmentation.autoaugment is not None:
        images = autoaugment(
            images,
            draws[:, POLICY],
            draws[:, APPLY],
            draws[:, SIGN],
            style=augmentation.autoaugment,
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
