"""Pillow's operations on a batch, each image by its own strength, to the last bit.

Images are (B, C, H, W) uint8 with C = 1 or 3, strengths (B,); results are like the images. An
image's result depends on nothing else in its batch, nor on the device. Colours follow
`ImageEnhance` and `ImageOps` of Pillow, whose rounding they keep.

An affine transform of an H x W image is a table of where every pixel comes from, made once and
looked up per image. Nearest neighbours: which pixel each pixel copies. Cubic shears: four pixels in
a row or a column, and how far between the inner two. Pixels from outside the image are grey.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

FILL = 128
OUTSIDE = -1


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Away from black by `factors`; 1 changes nothing."""
    return _blend(torch.zeros_like(images), images, factors)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Away from the image's mean grey by `factors`."""
    grey = _grey(images)
    mean = (grey.flatten(1).sum(1).double() / grey[0].numel() + 0.5).floor()
    return _blend(mean[:, None, None, None], images, factors)


def adjust_colour(images: Tensor, factors: Tensor) -> Tensor:
    """Away from the grey picture by `factors`."""
    return _blend(_grey(images), images, factors)


def adjust_sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Away from the smoothed picture by `factors`; the outermost pixels stay."""
    return _blend(_smooth(images), images, factors)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Only the highest `bits` of 8 kept."""
    step = 2 ** (8 - bits.long())[:, None, None, None]
    return (images - images.remainder(step)).to(torch.uint8)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Pixels of at least `thresholds` inverted."""
    return torch.where(images < thresholds[:, None, None, None], images, 255 - images)


def autocontrast(images: Tensor) -> Tensor:
    """Every channel stretched to 0..255; one of a single value stays."""
    low = images.amin((2, 3), keepdim=True).double()
    span = images.amax((2, 3), keepdim=True).double() - low
    # Not 255.0 / span, which torch computes as 255.0 * (1 / span), one rounding more.
    scale = torch.full_like(span, 255.0) / span.clamp(min=1)
    stretched = (images * scale + -low * scale).clamp(0, 255).to(torch.uint8)
    return torch.where(span > 0, stretched, images)


def _blend(start: Tensor, images: Tensor, factors: Tensor) -> Tensor:
    """`start` + factor (image - start) in float32, cut to 0..255 and rounded down."""
    start = start.float()
    mixed = start + factors.float()[:, None, None, None] * (images.float() - start)
    return mixed.clamp(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Luma of ITU-R 601-2 in 16-bit fixed point, (B, 1, H, W) int32."""
    if images.shape[1] == 1:
        return images.int()
    red, green, blue = images.int().unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)[:, None]


def _smooth(images: Tensor) -> Tensor:
    """Mean of the 3 x 3 neighbours with the pixel itself five times; edges as they are."""
    pixels = images.float()
    rows = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * pixels[..., 1:-1, 1:-1]
    # Sums are whole, so a thirteenth of one is never within 1/26 of a half.
    pixels[..., 1:-1, 1:-1] = (sums / 13 + 0.5).floor()
    return pixels


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
