"""Small images in rows and columns, such as originals and what augmentation makes of them.

R rows, V columns of images of H x W pixels and C channels, 1 or 3.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from marr_pipeline.plots import PlotError
from marr_pipeline.plots.save import Drawing
from marr_pipeline.plots.style import FADED, INK, SMALL, TEXT_WIDTH, look, new_figure, shorten

Images = npt.NDArray[np.uint8]
GAP_SHARE = 1 / 16  # of an image's width, between two of them
LABEL_WIDTH = 1.25  # inches, for the names of the rows
NAME_LENGTH = 20  # characters that it has room for
HEAD_HEIGHT = 0.2  # inches, for the names of the columns
LARGEST_IMAGE = 1.2  # inches
PAPER = 255


def draw_contact_sheet(images: Images, *, rows: Sequence[str], columns: Sequence[str]) -> Drawing:
    """All images on one sheet, at most as wide as the text of a paper; pixels stay square.

    Args:
        images: (R, V, H, W, C) uint8.
        rows: R names.
        columns: V names.

    Returns:
        The sheet, and row by row the mean and standard deviation of every image's pixels, 0 to 255.

    Raises:
        PlotError: no image, other shapes, or as many names as there are not.
    """
    _check(images, rows, columns)
    num_rows, num_columns, height, width, channels = images.shape
    gap = max(1, round(GAP_SHARE * width))
    step_y, step_x = height + gap, width + gap
    room = ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0))
    apart = np.pad(images, room, constant_values=PAPER).swapaxes(1, 2)
    sheet = apart.reshape(num_rows * step_y, num_columns * step_x, channels)[:-gap, :-gap]
    with look():
        inches = min((TEXT_WIDTH - LABEL_WIDTH) / sheet.shape[1], LARGEST_IMAGE / width)
        sheet_height, sheet_width = (inches * side for side in sheet.shape[:2])
        paper_width, paper_height = LABEL_WIDTH + sheet_width, HEAD_HEIGHT + sheet_height
        figure = new_figure(paper_width, paper_height, layout="none")
        axes = figure.add_axes(
            (LABEL_WIDTH / paper_width, 0, sheet_width / paper_width, sheet_height / paper_height)
        )
        # matplotlib takes three channels, or values for a colour map.
        axes.imshow(np.broadcast_to(sheet, (*sheet.shape[:2], 3)), interpolation="nearest")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        names = [shorten(name, length=NAME_LENGTH) for name in rows]
        axes.set_yticks(step_y * np.arange(num_rows) + (height - 1) / 2, names, color=INK)
        axes.set_xticks(
            step_x * np.arange(num_columns) + (width - 1) / 2, columns, color=FADED, size=SMALL
        )
    pixels = images.reshape(num_rows * num_columns, -1).astype(np.float64)
    table = {
        "row": [name for name in rows for _ in columns],
        "column": [name for _ in rows for name in columns],
        "mean": pixels.mean(axis=1),
        "deviation": pixels.std(axis=1),
    }
    return Drawing(figure, table)


def _check(images: Images, rows: Sequence[str], columns: Sequence[str]) -> None:
    fits = images.ndim == 5 and images.shape[-1] in (1, 3) and images.dtype == np.uint8
    if not fits or images.size == 0:
        raise PlotError(
            "contact sheet: images (rows, columns, height, width, 1 or 3) uint8 expected, got "
            f"{images.shape} {images.dtype}; put the channels last"
        )
    if images.shape[:2] != (len(rows), len(columns)):
        raise PlotError(
            f"contact sheet: {images.shape[0]} names of rows and {images.shape[1]} of columns "
            f"expected, got {len(rows)} and {len(columns)}; give one for each"
        )
