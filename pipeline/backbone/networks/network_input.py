"""The images that a network was made for."""

from dataclasses import dataclass

from marr_pipeline.data.normalise import Normalisation


@dataclass(frozen=True, kw_only=True)
class NetworkInput:
    """What the weights that a library publishes for a network ask of images.

    Attributes:
        image_size: side in pixels.
        normalisation: of the pixels; None leaves the dataset's.
    """

    image_size: int
    normalisation: Normalisation | None = None
