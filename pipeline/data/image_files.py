"""The image files of one split, and what is done with each of them in threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

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


def for_every_row(
    work: Callable[[int], None],
    rows: npt.NDArray[np.int64],
    *,
    threads: int,
    progress: Progress,
    note: str,
) -> Remarks:
    """Do something with every image of `rows` (N,) in threads; the first error ends it.

    Args:
        work: called with 0..N-1, the places in `rows`.
        rows: of the images.
        threads: how many work (Pillow decodes outside Python's lock).
        progress: told how many images are done.
        note: its reading.

    Returns:
        What Pillow remarked, by row.
    """
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
