"""AutoAugment's CIFAR-10 policy (Cubuk et al., 2019), exact per image but done in groups.

A policy is 25 pairs of operations, each with a probability and a strength. Every image draws
one pair, whether each of its two operations happens, and the sign of those that have one. The
images of a batch that drew the same operation, strength and sign are transformed together by
torchvision's batched kernels, which treat each image of a batch on its own.

Strengths and policy are torchvision's; empty pixels are grey as in the released MARC code,
where torchvision's default is black.
"""

import math

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import functional

FILL = 128
NUM_LEVELS = 10
POLICIES: list[tuple[tuple[str, float, int | None], tuple[str, float, int | None]]] = AutoAugment(
    AutoAugmentPolicy.CIFAR10
).policies
SIGNED = frozenset(
    {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"}
    | {"Brightness", "Color", "Contrast", "Sharpness"}
)


def autoaugment(images: Tensor, policy: Tensor, apply: Tensor, sign: Tensor) -> Tensor:
    """One drawn sub-policy on each image.

    Args:
        images: (B, C, H, W) uint8, C 1 or 3.
        policy: (B,) uniform draws in [0, 1) that choose among the 25 pairs.
        apply: (B, 2) uniform draws; an operation happens where its draw is at most its probability.
        sign: (B, 2) uniform draws; a signed operation is negative where its draw is below 1/2.

    Returns:
        (B, C, H, W) uint8.
    """
    device = images.device
    # The groups are formed on the CPU: 50 look-ups on a GPU would be 50 waits.
    chosen = (policy * len(POLICIES)).long().tolist()
    happens, negative = apply.tolist(), (sign < 0.5).tolist()
    result = images.clone(memory_format=torch.contiguous_format)
    for stage in (0, 1):
        groups: dict[tuple[str, int, bool], list[int]] = {}
        for row, pair in enumerate(chosen):
            operation, probability, level = POLICIES[pair][stage]
            if happens[row][stage] <= probability:
                flipped = operation in SIGNED and negative[row][stage]
                groups.setdefault((operation, level or 0, flipped), []).append(row)
        for (operation, level, flipped), members in groups.items():
            rows = torch.tensor(members, device=device)
            result[rows] = transform(result[rows], operation, level, negative=flipped)
    return result


def magnitude(operation: str, level: int, image_size: int) -> float:
    """Strength of `operation` at `level` 0..9: evenly spaced from nothing to the largest."""
    share = level / (NUM_LEVELS - 1)
    match operation:
        case "ShearX" | "ShearY":
            return 0.3 * share
        case "TranslateX" | "TranslateY":
            return 150.0 / 331.0 * image_size * share
        case "Rotate":
            return 30.0 * share
        case "Posterize":
            return 8 - round(4 * share)
        case "Solarize":
            return 255.0 * (1 - share)
        case _:
            return 0.9 * share


def transform(images: Tensor, operation: str, level: int, *, negative: bool) -> Tensor:
    """`operation` at `level` on every image of (B, C, H, W) uint8."""
    size = images.shape[-1] if operation != "TranslateY" else images.shape[-2]
    strength = magnitude(operation, level, size) * (-1 if negative else 1)
    result: Tensor
    match operation:
        case "ShearX":
            result = _move(images, shear=[math.degrees(math.atan(strength)), 0.0])
        case "ShearY":
            result = _move(images, shear=[0.0, math.degrees(math.atan(strength))])
        case "TranslateX":
            result = _move(images, translate=[int(strength), 0])
        case "TranslateY":
            result = _move(images, translate=[0, int(strength)])
        case "Rotate":
            result = functional.rotate(images, strength, fill=FILL)
        case "Brightness":
            result = functional.adjust_brightness(images, 1.0 + strength)
        case "Color":
            result = functional.adjust_saturation(images, 1.0 + strength)
        case "Contrast":
            result = functional.adjust_contrast(images, 1.0 + strength)
        case "Sharpness":
            result = functional.adjust_sharpness(images, 1.0 + strength)
        case "Posterize":
            result = functional.posterize(images, int(strength))
        case "Solarize":
            result = functional.solarize(images, strength)
        case "AutoContrast":
            result = functional.autocontrast(images)
        case "Equalize":
            result = functional.equalize(images)
        case "Invert":
            result = functional.invert(images)
        case _:
            raise AssertionError(f"torchvision's policy has an operation unknown here: {operation}")
    return result


def _move(
    images: Tensor, *, translate: list[int] | None = None, shear: list[float] | None = None
) -> Tensor:
    """Shift and shear about the top left corner."""
    moved: Tensor = functional.affine(
        images,
        angle=0.0,
        translate=translate or [0, 0],
        scale=1.0,
        shear=shear or [0.0, 0.0],
        center=[0.0, 0.0],
        fill=FILL,
    )
    return moved
