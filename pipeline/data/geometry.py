"""Pillow's affine transforms of a batch, each image by its own: where every pixel comes from.

A transform of an H x W image is a table, made once and looked up per image. Nearest neighbours:
which pixel each pixel copies. Cubic shears: four pixels in a row or a column, and how far between
the inner two. Pixels that come from outside the image are grey.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

FILL = 128
OUTSIDE = -1


def nearest_sources(operation: str, strength: float, height: int, width: int) -> Tensor:
    """Which pixel each pixel copies, asked of Pillow itself on an image of pixel numbers.

    Args:
        operation: `Rotate` by `strength` degrees counter-clockwise; `TranslateX`, `TranslateY`:
            the picture moves left or up by `strength` pixels; `ShearX`, `ShearY`: `strength`
            pixels a pixel.
        strength: see there.
        height: H.
        width: W.

    Returns:
        (H * W,) int64 numbers of pixels, row by row; OUTSIDE where there is none.
    """
    numbers = Image.fromarray(np.arange(height * width, dtype=np.int32).reshape(height, width))
    if operation == "Rotate":
        moved = numbers.rotate(strength, fillcolor=OUTSIDE)
    else:
        matrix = {
            "TranslateX": (1, 0, strength, 0, 1, 0),
            "TranslateY": (1, 0, 0, 0, 1, strength),
            "ShearX": (1, strength, 0, 0, 1, 0),
            "ShearY": (1, 0, 0, strength, 1, 0),
        }[operation]
        moved = numbers.transform(numbers.size, Image.Transform.AFFINE, matrix, fillcolor=OUTSIDE)
    return torch.from_numpy(np.array(moved, dtype=np.int64).flatten())


def copy_pixels(images: Tensor, sources: Tensor) -> Tensor:
    """Every image with its own table of `nearest_sources`.

    Args:
        images: (B, C, H, W) uint8.
        sources: (B, H * W) int64.
    """
    # A grey pixel before the first is the one that OUTSIDE copies.
    pixels = pad(images.flatten(2), (1, 0), value=FILL)
    places = (sources - OUTSIDE)[:, None].expand(-1, images.shape[1], -1)
    return pixels.gather(2, places).reshape(images.shape)


def cubic_sources(
    operation: str, strength: float, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Where a shear's pixels lie between others; the picture is repeated at its edge.

    Args:
        operation: `ShearX` or `ShearY`.
        strength: pixels a pixel.
        height: H.
        width: W.

    Returns:
        taps (4, H * W) int64, pixels in a row of `ShearX` or a column of `ShearY`; offset (H * W,)
        float64 in [0, 1), from the second tap to the third; inside (H * W,) bool.
    """
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    along, across, length = (x, y, width) if operation == "ShearX" else (y, x, height)
    place = (along + 0.5).double() + strength * (across + 0.5).double()
    inside = (place >= 0) & (place < length)
    place = place - 0.5
    first = place.floor().long() - 1
    taps = torch.stack([(first + tap).clamp(0, length - 1) for tap in range(4)])
    numbers = y * width + taps if operation == "ShearX" else taps * width + x
    return numbers.flatten(1), (place - place.floor()).flatten(), inside.flatten()


def interpolate_pixels(images: Tensor, taps: Tensor, offset: Tensor, inside: Tensor) -> Tensor:
    """Every image with its own tables of `cubic_sources`.

    The cubic convolution with slope -1 that Pillow calls bicubic, in float64, cut to 0..255 and
    rounded down as there.

    Args:
        images: (B, C, H, W) uint8.
        taps: (B, 4, H * W) int64.
        offset: (B, H * W) float64.
        inside: (B, H * W) bool.
    """
    flat = images.flatten(2)
    places = taps[:, :, None].expand(-1, -1, flat.shape[1], -1)
    a, b, c, d = (flat.gather(2, places[:, tap]).double() for tap in range(4))
    t = offset[:, None]
    value = b + t * ((c - a) + t * ((2 * (a - b) + c - d) + t * (b - a - c + d)))
    pixels = value.clamp(0, 255).to(torch.uint8)
    return pixels.masked_fill(~inside[:, None], FILL).reshape(images.shape)
