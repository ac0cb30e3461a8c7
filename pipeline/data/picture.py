"""One picture file, decoded: it becomes 8-bit RGB, or is refused by name.

Pictures of up to 8 bits a channel (black and white, grey, palette, RGB, CMYK, YCbCr, HSV) take
Pillow's own conversion: transparency is dropped, and of several frames the first is taken. Greys of
16 bits are divided by 257, so that 65,535 is white. Greys of 32-bit integers or floats state no
white: they need a range. Pillow would clip all of these at 255, which is white for most of them.
Colours of 16 bits it brings to 8 itself, white to white, so that no other range can be chosen.
"""

import math
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, ImageOps

from marr_pipeline.errors import ConfigError, DataError

OWN_RANGE = "own"
WHITE_OF_16_BITS = 65_535
SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
"""Their mode I, which is Pillow's for 32 bits, holds 16."""
DEEP = {"I": "32-bit integers", "F": "32-bit floats"}
TURN = Image.Transpose
BACK = {
    2: TURN.FLIP_LEFT_RIGHT,
    3: TURN.ROTATE_180,
    4: TURN.FLIP_TOP_BOTTOM,
    5: TURN.TRANSPOSE,
    6: TURN.ROTATE_90,
    7: TURN.TRANSVERSE,
    8: TURN.ROTATE_270,
}
"""What undoes the turn that an orientation tag asks for."""


@dataclass(frozen=True)
class Decoding:
    """How a picture becomes pixels.

    Attributes:
        exif: turn it as its EXIF tag says; else rows are as the file stores them, which is what
            torchvision's and most training code does.
        pixel_range: black and white of pictures of more than 8 bits; `own` is each one's smallest
            and largest value. None is 0 and 65,535 for 16 bits, and refuses 32.
    """

    exif: bool = False
    pixel_range: str | None = None

    def __post_init__(self) -> None:
        _ = self.bounds

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Black and white, where they are stated.

        Raises:
            ConfigError: not two ascending numbers.
        """
        if self.pixel_range in (None, OWN_RANGE):
            return None
        try:
            low, high = map(float, self.pixel_range.split(","))
            if not (math.isfinite(low) and low < high < math.inf):
                raise ValueError
        except ValueError:
            raise ConfigError(
                f"--pixel-range: {OWN_RANGE}, or LOW,HIGH with LOW below HIGH, expected, got "
                f"{self.pixel_range}; such as 0,4095 for 12-bit pictures"
            ) from None
        return low, high


AS_STORED = Decoding()


def open_image(path: Path, decoding: Decoding = AS_STORED) -> Image.Image:
    """The whole image, decoded, as RGB; its file is closed.

    Raises:
        DataError: the file is missing, no image, cut short, of 32 bits without a range, or of
            another depth than Pillow hands out with one; names it.
    """
    try:
        with Image.open(path) as file:
            is_16_bit = file.mode == "I" and file.format in SIXTEEN_BIT_FORMATS
            depth_changes = decoding.pixel_range is not None and _depth_changes(file)
            image = ImageOps.exif_transpose(file) if decoding.exif else _as_stored(file)
            is_deep = image.mode in DEEP or image.mode.startswith("I;16")
            if not is_deep and not depth_changes:
                return image.convert("RGB")
            pixels, mode = np.asarray(image), image.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's own text repeats the path, and for some files is empty.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(
            f"{path}: a readable image expected, got {reason}; replace or remove the file, or "
            "give --on-bad-image skip"
        ) from error
    if depth_changes:
        raise DataError(
            f"{path}: a grey picture, or one of 8 bits a channel, expected with --pixel-range, got "
            f"{mode} of more bits, which Pillow brings to another depth itself; save it with 8 "
            "bits a channel, or leave --pixel-range out if its white is the file format's"
        )
    bounds = _bounds(pixels, "" if is_16_bit else mode, decoding, path)
    return Image.fromarray(_scaled(pixels, *bounds)).convert("RGB")


def _depth_changes(file: ImageFile.ImageFile) -> bool:
    """Whether Pillow will bring samples of more than 8 bits to another depth.

    It does so with colours and with grey and transparency of 16 bits, and in PPM with every white
    but 255 and 65,535.
    """
    if not file.tile:
        return False
    rawmode, *rest = args if isinstance(args := file.tile[0].args, tuple) else (args,)
    if file.format == "PPM":
        white = rest[0] if rest else None
        return isinstance(white, int) and white > 255 and (file.mode, white) != ("I", 65_535)
    is_grey = file.mode in DEEP or file.mode.startswith("I;16")
    return not is_grey and re.search(";16[BLN]", str(rawmode)) is not None


def _as_stored(file: ImageFile.ImageFile) -> Image.Image:
    """Without the turn of its EXIF tag, which Pillow makes by itself in TIFF alone."""
    if file.format != "TIFF":
        return file
    orientation = file.getexif().get(ExifTags.Base.Orientation)
    file.load()
    return file.transpose(BACK[orientation]) if orientation in BACK else file


def _bounds(
    pixels: npt.NDArray[np.generic], mode: str, decoding: Decoding, path: Path
) -> tuple[float, float]:
    """Black and white of a grey picture of more than 8 bits."""
    low, high = float(pixels.min()), float(pixels.max())
    if not math.isfinite(high - low):
        raise DataError(
            f"{path}: a picture of finite numbers expected, got {low} to {high}; replace or remove "
            "the file, or give --on-bad-image skip"
        )
    if decoding.pixel_range == OWN_RANGE:
        return low, high
    if decoding.bounds is None and mode in DEEP:
        raise DataError(
            f"{path}: a picture of 8 or 16 bits expected, got {DEEP[mode]} from {low:g} to "
            f"{high:g}, of which black and white are not known; give --pixel-range LOW,HIGH, or "
            f"--pixel-range {OWN_RANGE} for each picture's own"
        )
    return decoding.bounds or (0, WHITE_OF_16_BITS)


def _scaled(pixels: npt.NDArray[np.generic], low: float, high: float) -> npt.NDArray[np.uint8]:
    """`low` becomes 0, `high` 255, and what is beyond them the same; a flat picture black."""
    factor = 255.0 / (high - low) if high > low else 0.0
    return np.rint(np.clip((pixels.astype(np.float64) - low) * factor, 0, 255)).astype(np.uint8)


class Remarks:
    """What Pillow warns of in pictures that it decodes all the same, in place of printing it.

    Attributes:
        rows: the rows of such pictures by kind: a warning's text with its numbers as N.
    """

    def __init__(self) -> None:
        self.rows: dict[str, set[int]] = {}
        self._thread = threading.local()

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Within the block, entered by one thread, every thread's warnings come here."""

        def note(message: Warning | str, *_: object, **__: object) -> None:
            kind = re.sub(r"\d+", "N", " ".join(str(message).split()))
            self.add({kind: {self._thread.row}})

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note
            yield

    def at(self, row: int) -> None:
        """This thread goes on to the picture of that row."""
        self._thread.row = row

    def add(self, rows: Mapping[str, set[int]]) -> None:
        """Those of another process."""
        for kind, own in rows.items():
            self.rows.setdefault(kind, set()).update(own)
