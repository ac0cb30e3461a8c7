"""Normalisations by name, and out of the text that a user types."""

from marr_pipeline.data.normalise import Normalisation
from marr_pipeline.errors import ConfigError

# The figures that MARC, LDAM-DRW, BBN and their descendants use for both CIFARs.
CIFAR = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
# As every codebase of ImageNet-LT and Places-LT uses them.
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INATURALIST = Normalisation((0.466, 0.471, 0.380), (0.195, 0.194, 0.192))
CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = Normalisation((0.5,), (0.5,))
"""Pixels in [-1, 1], as Inception and many vision transformers take them."""

NORMALISATIONS: dict[str, Normalisation] = {
    "cifar": CIFAR,
    "imagenet": IMAGENET,
    "inaturalist": INATURALIST,
    "clip": CLIP,
    "half": HALF,
}


def parse_normalisation(text: str) -> Normalisation:
    """The normalisation of a name, or of MEAN/STD such as `0.5,0.5,0.5/0.2,0.2,0.2` or `0/1`.

    Raises:
        ConfigError: it is neither, or no statistics of pixels in [0, 1].
    """
    if text in NORMALISATIONS:
        return NORMALISATIONS[text]
    mean, _, std = text.partition("/")
    try:
        normalisation = Normalisation(_numbers(mean), _numbers(std))
    except ValueError as error:
        raise ConfigError(
            f"--normalisation: dataset, {', '.join(NORMALISATIONS)} or MEAN/STD expected, got "
            f"{text}; such as 0.485,0.456,0.406/0.229,0.224,0.225, or 0.5/0.5 for all channels"
        ) from error
    if not all(0 <= value <= 1 for value in normalisation.mean):
        raise ConfigError(
            f"--normalisation: means of pixels in [0, 1] expected, got {mean}; divide means and "
            "deviations by 255"
        )
    return normalisation


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))
