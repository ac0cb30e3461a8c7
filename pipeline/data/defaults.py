"""What phase one uses for images in files, by their size, unless it is told otherwise."""

from dataclasses import replace

from marr_pipeline.data.file_source import is_streamed
from marr_pipeline.data.images import PhaseOneDefaults
from marr_pipeline.data.normalisations import IMAGENET
from marr_pipeline.data.normalise import Normalisation
from marr_pipeline.names import LARGE_AUGMENTATIONS, SMALL_AUGMENTATIONS

COLOUR_DEFAULTS = PhaseOneDefaults(
    backbone="resnet32", augmentation="crop-flip", augmentations=SMALL_AUGMENTATIONS
)
LARGE_DEFAULTS = PhaseOneDefaults(
    backbone="resnet50", augmentation="resized-crop-jitter", augmentations=LARGE_AUGMENTATIONS
)


def file_defaults(
    image_size: int, *, backbone: str | None = None, augmentation: str | None = None
) -> PhaseOneDefaults:
    """The defaults for images of `image_size` pixels.

    Args:
        image_size: side.
        backbone: the one for large images, if not a ResNet-50.
        augmentation: the one for large images, if not with jitter.
    """
    if not is_streamed(image_size):
        return COLOUR_DEFAULTS
    return replace(
        LARGE_DEFAULTS,
        backbone=backbone or LARGE_DEFAULTS.backbone,
        augmentation=augmentation or LARGE_DEFAULTS.augmentation,
    )


def file_normalisation(image_size: int, large: Normalisation = IMAGENET) -> Normalisation | None:
    """`large` for images that stay in their files; None, their own, for those in memory."""
    return large if is_streamed(image_size) else None
