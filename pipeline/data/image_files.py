"""The image files of one split, none of them opened."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marr_pipeline.data.rows import Rows
from marr_pipeline.errors import DataError


@dataclass(frozen=True)
class ImageFiles:
    """M files under one root.

    Attributes:
        root: the data root.
        ids: M paths relative to it, with forward slashes.
        list_path: the list that names them; None if a folder was listed.
        lines: (M,) int64, their lines in that list.
    """

    root: Path
    ids: tuple[str, ...]
    list_path: Path | None = None
    lines: Rows | None = None

    def path(self, row: int) -> Path:
        """The file of a row."""
        return self.root / self.ids[row]

    def content(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Name and length in bytes of the files of `rows`, as one text of bytes.

        It stands for what is in the files, to tell one set of images from another without
        reading them: a file that changes keeps its length only by accident. Folders are left
        out, so that a set may move.
        """
        stated = (f"{self.path(row).name} {self.path(row).stat().st_size}\n" for row in rows)
        return np.frombuffer("".join(stated).encode("utf-8", "surrogateescape"), dtype=np.uint8)

    def require_present(self, rows: Rows) -> None:
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
