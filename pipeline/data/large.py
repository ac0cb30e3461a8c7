"""One view of one large image: what the ImageNet-LT, Places-LT and iNaturalist codebases do.

Training: a crop of 8 to 100 % of the area and an aspect ratio of 3/4 to 4/3, resized; a flip; where
asked, brightness, contrast and saturation changed by up to 40 %, in random order. Testing: the
short side resized to 8/7 of the window (256 for 224), the centre cut out. Pixels go through
torchvision's functionals, for Pillow images and uint8 tensors alike; only the draws are ours, so
that a view is a function of one row of `LARGE_NUM_DRAWS` uniform numbers.
"""

import math
from collections.abc import Callable
from itertools import permutations

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from marr_pipeline.data.augment import Augmentation
from marr_pipeline.errors import ConfigError

Picture = Image.Image | Tensor
"""RGB: a Pillow image, or (3, H, W) uint8."""

NUM_TRIES = 10  # torchvision's, before it takes the centre
AREA, RATIO = slice(0, NUM_TRIES), slice(NUM_TRIES, 2 * NUM_TRIES)
TOP, LEFT, FLIP, ORDER = range(2 * NUM_TRIES, 2 * NUM_TRIES + 4)
JITTER = slice(ORDER + 1, ORDER + 4)
LARGE_NUM_DRAWS = JITTER.stop

IMAGE_SIZE = 224
RESIZE_SHARE = 256 / 224  # short side over window, in the test transform
SMALLEST_AREA = 0.08
LARGEST_RATIO = 4 / 3  # width over height; the smallest is its inverse
JITTER_SHARE = 0.4

_ADJUSTMENTS: tuple[Callable[[Picture, float], Picture], ...] = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
)
_ORDERS = tuple(permutations(range(len(_ADJUSTMENTS))))


def large_view(
    image: Picture, draws: Tensor, augmentation: Augmentation, *, size: int = IMAGE_SIZE
) -> Tensor:
    """One view of an image.

    Args:
        image: RGB, a Pillow image or (3, H, W) uint8.
        draws: (LARGE_NUM_DRAWS,) in [0, 1), a row of `draw_view` or `draw_epoch`.
        augmentation: the steps to take, `resized_crop`, `flip` and `jitter`.
        size: side of the result in pixels.

    Returns:
        (3, size, size) uint8.

    Raises:
        ConfigError: a step for images in memory.
    """
    if augmentation.needs_memory:
        raise ConfigError(
            "augmentation: resized_crop, flip and jitter expected for images read from their "
            f"files, got {augmentation}; choose none or one of the resized-crop augmentations"
        )
    uniform = draws.tolist()
    if augmentation.resized_crop:
        height, width = functional.get_size(image)
        top, left, rows, columns = crop_window(height, width, uniform)
        image = functional.resized_crop(
            image, top, left, rows, columns, size=[size, size], antialias=True
        )
    else:
        image = _centre(image, size)
    if augmentation.flip and uniform[FLIP] < 0.5:
        image = functional.horizontal_flip(image)
    if augmentation.jitter:
        factors = [1 + JITTER_SHARE * (2 * number - 1) for number in uniform[JITTER]]
        for step in _ORDERS[int(uniform[ORDER] * len(_ORDERS))]:
            image = _ADJUSTMENTS[step](image, factors[step])
    return _pixels(image)


def large_eval(image: Picture, *, size: int = IMAGE_SIZE) -> Tensor:
    """The test view: short side to 8/7 of `size`, centre cut out; (3, size, size) uint8."""
    return _pixels(_centre(image, size))


def crop_window(height: int, width: int, uniform: list[float]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the random crop.

    The first of ten draws of area and ratio that fits inside the image; if none does, the centre
    with the ratio nearest to the image's own. The ratio is uniform on a logarithmic scale.

    Args:
        height: of the image.
        width: of the image.
        uniform: LARGE_NUM_DRAWS numbers in [0, 1).
    """
    log_ratio = math.log(LARGEST_RATIO)
    for area_draw, ratio_draw in zip(uniform[AREA], uniform[RATIO], strict=True):
        area = height * width * (SMALLEST_AREA + (1 - SMALLEST_AREA) * area_draw)
        ratio = math.exp(log_ratio * (2 * ratio_draw - 1))
        columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < columns <= width and 0 < rows <= height:
            top = int(uniform[TOP] * (height - rows + 1))
            left = int(uniform[LEFT] * (width - columns + 1))
            return top, left, rows, columns
    columns = min(width, max(1, round(height * LARGEST_RATIO)))
    rows = min(height, max(1, round(width * LARGEST_RATIO)))
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def _centre(image: Picture, size: int) -> Picture:
    short_side = round(size * RESIZE_SHARE)
    resized = functional.resize(image, [short_side], antialias=True)
    centre: Picture = functional.center_crop(resized, [size, size])
    return centre


def _pixels(image: Picture) -> Tensor:
    pixels: Tensor = image if isinstance(image, Tensor) else functional.pil_to_tensor(image)
    assert pixels.dtype == torch.uint8
    return pixels
