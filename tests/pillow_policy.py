"""AutoAugment's operations, one Pillow image at a time: the slow, obvious way."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

GREY = (128, 128, 128)
ENHANCERS = {
    "Brightness": ImageEnhance.Brightness,
    "Color": ImageEnhance.Color,
    "Contrast": ImageEnhance.Contrast,
    "Sharpness": ImageEnhance.Sharpness,
}
PLAIN = {
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
}


def torchvision_operation(image, operation, level, *, negative):
    """torchvision's, with its `fill` at grey."""
    width, height = image.size
    space = AutoAugment(AutoAugmentPolicy.CIFAR10)._augmentation_space(10, (height, width))
    magnitudes, is_signed = space[operation]
    magnitude = 0.0 if level is None else float(magnitudes[level].item())
    if is_signed and negative:
        magnitude = -magnitude
    return _apply_op(image, operation, magnitude, InterpolationMode.NEAREST, [128.0] * 3)


def released_operation(image, operation, level, *, negative):
    """As described of the code released with MARC."""
    share = (level or 0) / 9
    sign = -1 if negative else 1
    width, height = image.size
    if operation in ("ShearX", "ShearY"):
        shear = np.linspace(0, 0.3, 10)[level] * sign
        matrix = (1, shear, 0, 0, 1, 0) if operation == "ShearX" else (1, 0, 0, shear, 1, 0)
        return image.transform(
            image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=GREY
        )
    if operation in ("TranslateX", "TranslateY"):
        share = np.linspace(0, 150 / 331, 10)[level] * sign
        shift = (share * width, 0) if operation == "TranslateX" else (0, share * height)
        matrix = (1, 0, shift[0], 0, 1, shift[1])
        return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=GREY)
    if operation == "Rotate":
        turned = image.convert("RGBA").rotate(30 * share)
        return Image.composite(turned, Image.new("RGBA", image.size, (128,) * 4), turned).convert(
            "RGB"
        )
    if operation in PLAIN:
        return PLAIN[operation](image)
    if operation == "Posterize":
        return ImageOps.posterize(image, int(np.round(np.linspace(8, 4, 10))[level]))
    if operation == "Solarize":
        return ImageOps.solarize(image, np.linspace(256, 0, 10)[level])
    return ENHANCERS[operation](image).enhance(1 + np.linspace(0, 0.9, 10)[level] * sign)
