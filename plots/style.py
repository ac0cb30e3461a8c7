"""One look for all figures: sizes of a two-column paper, colours, and text that stays readable.

Every figure is built and saved inside `look()`, so neither a user's matplotlibrc nor the order of
calls changes a picture, and nothing is left behind in matplotlib's global settings.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.typing import ColorType

Width = Literal["page", "column"]
"""Of both columns of a paper and the gap between them, or of one."""

COLUMN_WIDTH = 3.5  # inches; one column of a two-column paper
TEXT_WIDTH = 7.16  # inches; both columns and the gap between them
PAPER_WIDTH = {"page": TEXT_WIDTH, "column": COLUMN_WIDTH}
DPI = 200
POINTS_PER_INCH = 72.0
SMALL, NORMAL, LARGE = 7.0, 7.5, 8.5  # points at print size; nothing is smaller than SMALL

# Okabe and Ito's colours, which stay apart for colour-blind readers; yellow is too pale for lines.
# The eighth is Tol's wine.
SERIES_COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255"),
)
SERIES_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
SERIES_DASHES = (
    *("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))),
    (0, (6, 1, 1, 1, 1, 1)),
)
MAX_SERIES = len(SERIES_COLORS)

LEGEND_LENGTH = 36  # characters of a method's name that a legend has room for
LEGEND_LINE = 10.5  # points
LEGEND_GAPS = 2.1  # letters around a name: blanks, and what parts two columns

INK, FADED, SPINE, PALE, BAND = "#262626", "#595959", "#8C8C8C", "#C9C9C9", "#F3F3F3"

LOOK: dict[str, object] = {
    "axes.axisbelow": True,
    "axes.edgecolor": SPINE,
    "axes.labelcolor": INK,
    "axes.labelsize": NORMAL,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": LARGE,
    "figure.dpi": DPI,
    "figure.titlesize": LARGE,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture everywhere
    "font.size": NORMAL,
    "hatch.color": "#B5B5B5",
    "hatch.linewidth": 0.5,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.2,
    "pdf.fonttype": 42,  # publishers refuse the default Type 3
    "savefig.dpi": "figure",
    "svg.hashsalt": "plots",  # element ids, and so the file, are the same in every run
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
    "xtick.color": SPINE,
    "xtick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "xtick.major.size": 2.0,
    "xtick.major.width": 0.6,
    "ytick.color": SPINE,
    "ytick.labelcolor": INK,
    "ytick.labelsize": SMALL,
    "ytick.major.size": 2.0,
    "ytick.major.width": 0.6,
}


NUM_COLORS = 256
PAPER = np.array([100.0, 0.0, 0.0])  # L, a, b
DEEP = np.array([18.0, 6.0, -30.0])  # dark blue, inside sRGB
WHITE_POINT = np.array([0.95047, 1.0, 1.08883])  # X, Y, Z of D65
XYZ_TO_RGB = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)


def look() -> AbstractContextManager[None]:
    """The settings of all figures, on top of matplotlib's own defaults, until the block ends."""
    return style.context(["default", LOOK])


def new_figure(width: float, height: float, *, layout: str) -> Figure:
    """An empty figure that needs no display; call inside `look()`.

    Args:
        width: inches.
        height: inches.
        layout: `constrained`, `compressed` for panels of a fixed shape, or `none`.
    """
    figure = Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


def series_mark(series: int, *, is_line: bool = False) -> dict[str, Any]:
    """Colour and shape of a series; the one before is hollow, so that it differs in grey too."""
    color = SERIES_COLORS[series]
    return {
        "color": color,
        "linestyle": SERIES_DASHES[series] if is_line else "none",
        "marker": SERIES_MARKERS[series],
        "markerfacecolor": "white" if series == 0 else color,
        "markeredgewidth": 0.8,
    }


def legend_figure(
    width: float,
    height: float,
    marks: Sequence[tuple[str, dict[str, Any]]],
    *,
    handle: float = 2.6,
    gap: float = 0.0,
    layout: Literal["constrained", "compressed"] = "constrained",
) -> Figure:
    """An empty figure under a legend, in as many columns as fit; call inside `look()`.

    Args:
        width: inches.
        height: inches, to which the legend's are added.
        marks: name of each entry and how its line is drawn.
        handle: length of the lines, in letters.
        gap: between two panels, as a share of their size.
        layout: as of `new_figure`.
    """
    names = [shorten(name, length=LEGEND_LENGTH) for name, _ in marks]
    num_columns = legend_columns(names, handle=handle, length=width * POINTS_PER_INCH)
    legend = -(-len(names) // num_columns) * LEGEND_LINE / POINTS_PER_INCH
    figure = new_figure(width, height + legend, layout=layout)
    figure.set_layout_engine(layout, w_pad=0.02, h_pad=0.02, wspace=gap, hspace=gap)
    figure.legend(
        handles=[
            # A leading blank keeps a name that begins with an underscore in the legend.
            Line2D([], [], label=f" {name}", **mark)
            for name, (_, mark) in zip(names, marks, strict=True)
        ],
        loc="outside upper left",
        ncols=num_columns,
        borderaxespad=0.2,
        borderpad=0.0,
        handletextpad=0.2,
        handlelength=handle,
        columnspacing=1.4,
    )
    return figure


def legend_columns(names: Sequence[str], *, handle: float, length: float) -> int:
    """In how many columns names and lines of `handle` letters take the fewest rows.

    Each column is as wide as its own longest name. Call inside `look()`.
    """
    beside = (handle + LEGEND_GAPS) * SMALL
    entries = [text_width(name, size=SMALL) + beside for name in names]
    for num_rows in range(1, len(names)):
        num_columns = -(-len(names) // num_rows)
        columns = np.array_split(entries, num_columns)
        if sum(column.max() for column in columns) <= length:
            return num_columns
    return 1


@lru_cache(maxsize=4096)
def text_width(text: str, *, size: float) -> float:
    """Width of one line of text in points, in the look's font; call inside `look()`.

    Remembered: a figure tries the same labels at several sizes and in several places.
    """
    return float(TextPath((0.0, 0.0), text, size=size).get_extents().width) if text.strip() else 0.0


def shorten(text: str, *, length: int) -> str:
    """At most `length` characters; what is cut out of the middle becomes an ellipsis."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def percent(fraction: float) -> str:
    """A fraction as per cent without the sign; a dash where there is none."""
    return "–" if fraction != fraction else f"{100 * fraction:.1f}"


def text_color_on(background: ColorType) -> str:
    """Black or white, whichever has the higher contrast on `background` (WCAG luminance)."""
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(background)
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def lab_to_srgb(lab: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Colours (..., 3) of sRGB in [0, 1], from CIELAB (..., 3); clipped outside the gamut."""
    lightness = (lab[..., 0] + 16.0) / 116.0
    cube_roots = np.stack(
        [lightness + lab[..., 1] / 500.0, lightness, lightness - lab[..., 2] / 200.0], axis=-1
    )
    near_black = 3.0 * (6.0 / 29.0) ** 2 * (cube_roots - 4.0 / 29.0)
    xyz = np.where(cube_roots > 6.0 / 29.0, cube_roots**3, near_black) * WHITE_POINT
    linear = np.clip(xyz @ XYZ_TO_RGB.T, 0.0, 1.0)
    srgb: npt.NDArray[np.float64] = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1.0 / 2.4) - 0.055
    )
    return srgb


def share_colormap() -> ListedColormap:
    """The colours of shares: white for nothing to dark blue for all, in equal steps to the eye.

    Matplotlib's own perceptually uniform maps begin at yellow or black, which on paper turns an
    empty matrix into a coloured block. This one is a straight line in CIELAB (D65 white), so equal
    steps of the value are equal steps of lightness and of colour distance (CIE 1976).
    """
    steps = np.linspace(0.0, 1.0, NUM_COLORS)[:, None]
    return ListedColormap(lab_to_srgb(PAPER + steps * (DEEP - PAPER)), name="share")
