"""The image files of one split, and their pixels: every image becomes 8-bit RGB."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.progress import Progress

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"})
IMAGES_PER_TASK = 256  # a 32 x 32 PNG decodes in 0.1 ms: one task each would be all overhead


@dataclass(frozen=True)
class ImageFiles:
    """M files under one root, none of them opened.

    Attributes:
        root: the data root.
        ids: M paths relative to it, with forward slashes.
        list_path: the list that names them; None if a folder was listed.
        lines: (M,) int64, their lines in that list.
    """

    root: Path
    ids: tuple[str, ...]
    list_path: Path | None = None
    lines: npt.NDArray[np.int64] | None = None

    def path(self, row: int) -> Path:
        """The file of a row."""
        return self.root / self.ids[row]

    def content(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Name and length in bytes of the files of `rows`, as one text of bytes.

        It stands for what is in the files, to tell one set of images from another without
        reading them: a file that changes keeps its length only by accident. Folders are left
        out, so that a set may move.
        """
        stated = (f"{self.path(row).name} {self.path(row).stat().st_size}\n" for row in rows)
        return np.frombuffer("".join(stated).encode("utf-8", "surrogateescape"), dtype=np.uint8)

    def require_present(self, rows: npt.NDArray[np.int64]) -> None:
        """Raise a DataError with the first missing file of `rows` and how many there are."""
        missing = [row for row in rows if not os.path.isfile(f"{self.root}/{self.ids[row]}")]  # noqa: PTH113 - a Path each takes 4 times as long
        if missing:
            first = missing[0]
            place = str(self.root)
            if self.list_path is not None and self.lines is not None:
                place = f"{self.list_path}, line {self.lines[first]}"
            raise DataError(
                f"{place}: an image file {self.path(first)} expected, got none ({len(missing):,} "
                f"of {len(rows):,} images are missing); correct --data-root, give --path-prefix "
                "OLD=NEW, or --on-bad-image skip"
            )


def open_image(path: Path) -> Image.Image:
    """The whole image, decoded; its file is closed.

    Raises:
        DataError: the file is missing, no image or cut short; names it.
    """
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's own text repeats the path, and for some files is empty.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(
            f"{path}: a readable image expected, got {reason}; replace or remove the file, or "
            "give --on-bad-image skip"
        ) from error


def read_image(path: Path, image_size: int) -> npt.NDArray[np.uint8]:
    """One image as (image_size, image_size, 3) uint8.

    Another size is resized, antialiased, until its short side fits, and cut at the centre.
    """
    image = open_image(path)
    if image.size != (image_size, image_size):
        scale = image_size / min(image.size)
        width, height = (max(image_size, round(side * scale)) for side in image.size)
        left, top = (width - image_size) // 2, (height - image_size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + image_size, top + image_size))
    return np.asarray(image)


def read_images(
    paths: Sequence[Path], image_size: int, *, threads: int, progress: Progress, note: str
) -> Tensor:
    """Decode `paths` (N,) to (N, 3, image_size, image_size) uint8.

    Args:
        paths: of the images.
        image_size: side in pixels that they are brought to.
        threads: how many decode (Pillow does so outside Python's lock).
        progress: told how many images are done.
        note: its reading.

    Raises:
        DataError: a file is no image or is cut short; names it.
    """
    images = np.empty((len(paths), image_size, image_size, 3), dtype=np.uint8)

    def decode(row: int) -> None:
        images[row] = read_image(paths[row], image_size)

    _for_every_row(decode, len(paths), threads, progress, note)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def find_unreadable(
    paths: Sequence[Path], *, threads: int, progress: Progress, note: str
) -> npt.NDArray[np.bool_]:
    """Which of `paths` (N,) cannot be decoded, as `read_images` does; every one is."""
    is_bad = np.zeros(len(paths), dtype=np.bool_)

    def check(row: int) -> None:
        try:
            open_image(paths[row])
        except DataError:
            is_bad[row] = True

    _for_every_row(check, len(paths), threads, progress, note)
    return is_bad


def _for_every_row(
    work: Callable[[int], None], num_rows: int, threads: int, progress: Progress, note: str
) -> None:
    """Call `work` for 0..num_rows-1 in threads; the first error ends it."""

    def task(start: int) -> int:
        stop = min(start + IMAGES_PER_TASK, num_rows)
        for row in range(start, stop):
            work(row)
        return stop

    with ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            for done in pool.map(task, range(0, num_rows, IMAGES_PER_TASK)):
                progress(done, num_rows, note)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
