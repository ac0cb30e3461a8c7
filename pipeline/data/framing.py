"""How a clean image is brought to the size that a network takes.

A picture's short side is resized and the centre cut out of it; or both of its sides are resized,
whatever its proportions. Pixels go through torchvision's functionals, pictures and tensors alike.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

Pixels = TypeVar("Pixels", Image.Image, Tensor)


@dataclass(frozen=True, kw_only=True)
class Framing:
    """From an image of any size to a square one.

    Attributes:
        size: side of the result in pixels.
        resized: what the short side becomes before the centre is cut out.
        interpolation: `bilinear` or `bicubic`, antialiased.
        squashed: whether both sides become `resized`.
    """

    size: int
    resized: int
    interpolation: str = "bilinear"
    squashed: bool = False

    @classmethod
    def of_training_code(cls, size: int) -> "Framing":
        """The test view of the ImageNet-LT, Places-LT and iNaturalist codebases: 256 for 224."""
        return cls(size=size, resized=round(size * 256 / 224))

    def at(self, size: int) -> "Framing":
        """The same share of the image at another size, rounded as timm does."""
        resized = math.floor(size * self.resized / self.size + 1e-9)
        return replace(self, size=size, resized=resized)

    def whole(self) -> "Framing":
        """The whole image at that size: a border cut off a small one would show too little."""
        return replace(self, resized=self.size, squashed=True)

    def __call__(self, image: Pixels) -> Pixels:
        """The image, or images (..., C, H, W) uint8 or floating, framed."""
        sides = [self.resized] * (2 if self.squashed else 1)
        mode = InterpolationMode(self.interpolation)
        image = functional.resize(image, sides, interpolation=mode, antialias=True)
        framed: Pixels = functional.center_crop(image, [self.size, self.size])
        return framed

    @property
    def text(self) -> str:
        """`short side 256 (bicubic), centre 224`, or `whole image to 224 (bicubic)`."""
        side = f"{self.resized} ({self.interpolation})"
        what = f"whole image to {side}" if self.squashed else f"short side {side}"
        return what if self.resized == self.size else f"{what}, centre {self.size}"

    def record(self) -> dict[str, object]:
        """The fields as JSON values."""
        return asdict(self)
