"""AutoAugment's CIFAR-10 policy (Cubuk et al., 2019) on a batch, as Pillow carries it out.

A policy is 25 pairs of operations, each with a probability and a level. Every image draws one
pair, whether each of its two operations happens, and the sign of those that have one. Codes differ
in the details (`AutoAugmentStyle`); each image becomes, to the last bit, what its style's code
makes of it with Pillow. On a GPU every operation is done to the whole batch and kept where it was
drawn: 25 look-ups of who drew what would be as many waits for the device. A CPU, where looking is
free, does an operation to the images that drew it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import functional

from marr_pipeline.data import pillow_operations as pillow

NUM_LEVELS = 10
POLICIES: list[tuple[tuple[str, float, int | None], tuple[str, float, int | None]]] = AutoAugment(
    AutoAugmentPolicy.CIFAR10
).policies
SHEARS = frozenset({"ShearX", "ShearY"})
MOVES = SHEARS | {"TranslateX", "TranslateY", "Rotate"}
SCALED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": pillow.adjust_brightness,
    "Color": pillow.adjust_colour,
    "Contrast": pillow.adjust_contrast,
    "Sharpness": pillow.adjust_sharpness,
    "Posterize": pillow.posterize,
    "Solarize": pillow.solarize,
}
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "AutoContrast": pillow.autocontrast,
    "Equalize": functional.equalize,
    "Invert": functional.invert,
}

Parameters = Callable[[str, float, int, int], tuple[Tensor, ...]]
"""Of an operation's name and strength and the image's height and width."""


@dataclass(frozen=True, kw_only=True)
class AutoAugmentStyle:
    """Where codes that carry out the policy differ.

    Attributes:
        bicubic_shear: shears interpolate; otherwise they copy the nearest pixel.
        whole_pixels: translations are cut to whole pixels; otherwise rounded to the nearest.
        signed_rotation: rotations go either way; otherwise counter-clockwise only.
        solarize_top: threshold of level 0.
        dtype: that levels are spaced in.
    """

    bicubic_shear: bool
    whole_pixels: bool
    signed_rotation: bool
    solarize_top: float
    dtype: torch.dtype


STYLES = {
    # torchvision's `AutoAugment`, on Pillow images and with its `fill` at grey.
    "torchvision": AutoAugmentStyle(
        bicubic_shear=False,
        whole_pixels=True,
        signed_rotation=True,
        solarize_top=255.0,
        dtype=torch.float32,
    ),
    # The code released with MARC and Balanced Meta-Softmax.
    "released": AutoAugmentStyle(
        bicubic_shear=True,
        whole_pixels=False,
        signed_rotation=False,
        solarize_top=256.0,
        dtype=torch.float64,
    ),
}


@dataclass(frozen=True)
class _Kernel:
    """An operation, or several that are one with other parameters.

    Attributes:
        run: images (B, C, H, W) uint8 and parameters (B, ...) to images.
        parameters: (50, ...) each, by signed operation; 0 for those of other kernels.
    """

    run: Callable[..., Tensor]
    parameters: tuple[Tensor, ...]


@dataclass(frozen=True)
class _Stage:
    """The first or the second operations of all pairs, on a device.

    Attributes:
        probability: (25,) float64.
        kernels: that carry them out.
        kernel: (50,) int64, which of them a signed operation is.
    """

    probability: Tensor
    kernels: tuple[_Kernel, ...]
    kernel: Tensor


def autoaugment(
    images: Tensor,
    policy: Tensor,
    apply: Tensor,
    sign: Tensor,
    *,
    style: AutoAugmentStyle,
    select: bool,
) -> Tensor:
    """One drawn pair of operations on each image.

    Args:
        images: (B, C, H, W) uint8, C 1 or 3.
        policy: (B,) uniform draws in [0, 1) that choose among the 25 pairs.
        apply: (B, 2) uniform draws; an operation happens where its draw is below its probability.
        sign: (B, 2) uniform draws; a signed operation is negative where its draw is below 1/2.
        style: the code to follow.
        select: do an operation to the images that drew it alone, which must then be found.

    Returns:
        (B, C, H, W) uint8; `select` does not change it.
    """
    pair = (policy * len(POLICIES)).long()
    result = images.clone(memory_format=torch.contiguous_format)
    stages = _stages(style, images.shape[2], images.shape[3], images.device)
    for number, stage in enumerate(stages):
        drawn = 2 * pair + (sign[:, number] < 0.5)
        happens = apply[:, number] < stage.probability[pair]
        chosen = torch.where(happens, stage.kernel[drawn], -1)
        for index, kernel in enumerate(stage.kernels):
            if select:
                rows = (chosen == index).nonzero()[:, 0]
                if len(rows):
                    own = drawn[rows]
                    parameters = [values.index_select(0, own) for values in kernel.parameters]
                    changed = kernel.run(result.index_select(0, rows), *parameters)
                    result.index_copy_(0, rows, changed)
            else:
                is_chosen = chosen == index
                changed = kernel.run(result, *(values[drawn] for values in kernel.parameters))
                result = torch.where(is_chosen[:, None, None, None], changed, result)
    return result


def strength(
    operation: str, level: int, image_size: int, *, negative: bool, style: AutoAugmentStyle
) -> float:
    """What `operation` at `level` 0..9 is given: evenly spaced from nothing to the largest.

    Pixels a pixel for shears, pixels for translations (of an image `image_size` wide or high),
    degrees for rotations, bits, thresholds, and factors around 1.
    """

    def spaced(start: float, end: float) -> float:
        return float(torch.linspace(start, end, NUM_LEVELS, dtype=style.dtype)[level])

    sign = -1 if negative else 1
    match operation:
        case "ShearX" | "ShearY":
            return sign * spaced(0.0, 0.3)
        case "TranslateX" | "TranslateY":
            shift = sign * image_size * spaced(0.0, 150 / 331)
            # torchvision's translations go the other way: it moves the picture, not the window.
            return -int(shift) if style.whole_pixels else shift
        case "Rotate":
            return spaced(0.0, 30.0) * (sign if style.signed_rotation else 1)
        case "Posterize":
            return round(spaced(8.0, 4.0))
        case "Solarize":
            return spaced(style.solarize_top, 0.0)
        case _:
            return 1.0 + sign * spaced(0.0, 0.9)


@lru_cache(maxsize=8)
def _stages(
    style: AutoAugmentStyle, height: int, width: int, device: torch.device
) -> tuple[_Stage, ...]:
    """Tables of both stages, moved to the device once."""
    return tuple(_plan_stage(number, style, height, width, device) for number in (0, 1))


def _plan_stage(
    number: int, style: AutoAugmentStyle, height: int, width: int, device: torch.device
) -> _Stage:
    signed = [
        (name, level or 0, negative)
        for name, _, level in (pair[number] for pair in POLICIES)
        for negative in (False, True)
    ]
    kernels: list[_Kernel] = []
    chosen = torch.full((len(signed),), -1)
    for run, names, parameters_of in _kinds(style):
        members = [index for index, (name, _, _) in enumerate(signed) if name in names]
        if not members:
            continue
        chosen[members] = len(kernels)
        rows = []
        for name, level, negative in (signed[index] for index in members):
            size = height if name == "TranslateY" else width
            value = strength(name, level, size, negative=negative, style=style)
            rows.append(parameters_of(name, value, height, width))
        parameters = []
        for column in zip(*rows, strict=True):
            own = torch.stack(column)
            every = own.new_zeros(len(signed), *own.shape[1:])
            every[members] = own
            parameters.append(every.to(device))
        kernels.append(_Kernel(run, tuple(parameters)))
    probability = torch.tensor([pair[number][1] for pair in POLICIES], dtype=torch.float64)
    return _Stage(probability.to(device), tuple(kernels), kernel=chosen.to(device))


def _kinds(style: AutoAugmentStyle) -> list[tuple[Callable[..., Tensor], set[str], Parameters]]:
    """How operations are carried out: the function, whose it is, and its parameters."""
    moves = MOVES - SHEARS if style.bicubic_shear else MOVES
    kinds: list[tuple[Callable[..., Tensor], set[str], Parameters]] = [
        (pillow.copy_pixels, set(moves), lambda *move: (pillow.nearest_sources(*move),)),
        *((run, {name}, _single) for name, run in SCALED.items()),
        *((run, {name}, lambda *_: ()) for name, run in PLAIN.items()),
    ]
    if style.bicubic_shear:
        kinds.append((pillow.interpolate_pixels, set(SHEARS), pillow.cubic_sources))
    return kinds


def _single(operation: str, value: float, height: int, width: int) -> tuple[Tensor, ...]:
    return (torch.tensor(value, dtype=torch.float64),)
