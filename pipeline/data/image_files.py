"""The image files of one split, and their pixels, which come a file at a time or all at once."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from marr_pipeline.data.picture import AS_STORED, Decoding, Remarks, open_image
from marr_pipeline.errors import DataError
from marr_pipeline.progress import Progress

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"})
MOST_SHOWN = 3
"""Lines that are at fault."""
IMAGES_PER_TASK = 256  # a 32 x 32 PNG decodes in 0.1 ms: one task each would be all overhead


@dataclass(frozen=True)
class ImageFiles:
    """M files under one root, none of them opened.

    Attributes:
        root: the data root.
        ids: M paths with forward slashes, relative to it, or absolute if they lie elsewhere.
        list_path: the list that names them; None if a folder was listed.
        lines: (M,) int64, their lines in that list.
        decoding: how they become pixels.
    """

    root: Path
    ids: tuple[str, ...]
    list_path: Path | None = None
    lines: npt.NDArray[np.int64] | None = None
    decoding: Decoding = AS_STORED

    def path(self, row: int) -> Path:
        """The file of a row."""
        return self.root / self.ids[row]

    def open(self, row: int) -> Image.Image:
        """The image of a row as RGB, decoded; a DataError names the file if it cannot be."""
        return open_image(self.path(row), self.decoding)

    def content(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Name and length in bytes of the files of `rows`, as one text of bytes.

        It stands for what is in the files, to tell one set of images from another without
        reading them: a file that changes keeps its length only by accident. Folders are left
        out, so that a set may move.
        """
        stated = (f"{self.path(row).name} {self.path(row).stat().st_size}\n" for row in rows)
        return np.frombuffer("".join(stated).encode("utf-8", "surrogateescape"), dtype=np.uint8)

    def require_present(self, rows: npt.NDArray[np.int64]) -> None:
        """Raise a DataError with the first missing files of `rows` and how many there are.

        A folder has just been listed; to ask for each of its files again would take as long.
        """
        if self.list_path is None or self.lines is None:
            return
        missing = [
            row
            for row in rows
            if not os.path.isfile(os.path.join(self.root, self.ids[row]))  # noqa: PTH113, PTH118 - a Path each takes 4 times as long
        ]
        if missing:
            first, *others = missing[:MOST_SHOWN]
            also = "".join(f", line {self.lines[row]}: {self.path(row)}" for row in others)
            raise DataError(
                f"{self.list_path}, line {self.lines[first]}: an image file {self.path(first)} "
                f"expected, got none{also} ({len(missing):,} of {len(rows):,} images are missing); "
                "correct --data-root, give --path-prefix OLD=NEW, or --on-bad-image skip"
            )


def fitted(
    image: Image.Image, image_size: int, interpolation: str = "bilinear"
) -> npt.NDArray[np.uint8]:
    """An RGB image as (image_size, image_size, 3) uint8.

    Another size is resized, antialiased, until its short side fits, and cut at the centre.
    """
    if image.size != (image_size, image_size):
        scale = image_size / min(image.size)
        width, height = (max(image_size, round(side * scale)) for side in image.size)
        left, top = (width - image_size) // 2, (height - image_size) // 2
        image = image.resize((width, height), Image.Resampling[interpolation.upper()])
        image = image.crop((left, top, left + image_size, top + image_size))
    return np.asarray(image)


def read_images(
    files: ImageFiles,
    rows: npt.NDArray[np.int64],
    image_size: int,
    *,
    threads: int,
    progress: Progress,
    note: str,
    interpolation: str = "bilinear",
) -> tuple[Tensor, Remarks]:
    """Decode the images of `rows` (N,) into one array, which is all the memory that it takes.

    Args:
        files: of the images.
        rows: which of them.
        image_size: side in pixels that they are brought to.
        threads: how many decode (Pillow does so outside Python's lock).
        progress: told how many images are done.
        note: its reading.
        interpolation: `bilinear` or `bicubic`.

    Returns:
        (N, 3, image_size, image_size) uint8, and what Pillow remarked, by row of `files`.

    Raises:
        DataError: a file is no image or is cut short; names it.
    """
    images = np.empty((len(rows), 3, image_size, image_size), dtype=np.uint8)

    def decode(place: int) -> None:
        image = fitted(files.open(rows[place]), image_size, interpolation)
        images[place] = image.transpose(2, 0, 1)

    remarks = _for_every_row(decode, rows, threads, progress, note)
    return torch.from_numpy(images), remarks


def find_unreadable(
    files: ImageFiles,
    rows: npt.NDArray[np.int64],
    *,
    threads: int,
    progress: Progress,
    note: str,
) -> npt.NDArray[np.bool_]:
    """Which of `rows` (N,) cannot be decoded, as `read_images` does; every one is."""
    is_bad = np.zeros(len(rows), dtype=np.bool_)

    def check(place: int) -> None:
        try:
            files.open(rows[place])
        except DataError:
            is_bad[place] = True

    _for_every_row(check, rows, threads, progress, note)
    return is_bad


def _for_every_row(
    work: Callable[[int], None],
    rows: npt.NDArray[np.int64],
    threads: int,
    progress: Progress,
    note: str,
) -> Remarks:
    """Call `work` for 0..N-1, the places in `rows` (N,), in threads; the first error ends it."""
    remarks = Remarks()

    def task(start: int) -> int:
        stop = min(start + IMAGES_PER_TASK, len(rows))
        for place in range(start, stop):
            remarks.at(int(rows[place]))
            work(place)
        return stop

    with remarks.gathered(), ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            for done in pool.map(task, range(0, len(rows), IMAGES_PER_TASK)):
                progress(done, len(rows), note)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return remarks
