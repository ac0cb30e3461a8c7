"""One look for all figures: sizes of a two-column paper, colours, and text that stays readable.

Every figure is built and saved inside `look()`, so neither a user's matplotlibrc nor the order of
calls changes a picture, and nothing is left behind in matplotlib's global settings.
"""

from contextlib import AbstractContextManager

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.typing import ColorType

COLUMN_WIDTH = 3.5  # inches; one column of a two-column paper
TEXT_WIDTH = 7.16  # inches; both columns and the gap between them
DPI = 200
POINTS_PER_INCH = 72.0
SMALL, NORMAL, LARGE = 7.0, 7.5, 8.5  # points at print size; nothing is smaller than SMALL

# Okabe and Ito's colours, which stay apart for colour-blind readers; yellow is too pale for lines.
SERIES_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SERIES_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SERIES_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MAX_SERIES = len(SERIES_COLORS)

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


def text_width(text: str, *, size: float) -> float:
    """Width of one line of text in points, in the look's font; call inside `look()`."""
    return float(TextPath((0.0, 0.0), text, size=size).get_extents().width) if text.strip() else 0.0


def shorten(text: str, *, length: int) -> str:
    """At most `length` characters; what is cut out of the middle becomes an ellipsis."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def percent(fraction: float, *, digits: int = 1) -> str:
    """A fraction as per cent without the sign; a dash where there is none."""
    return "–" if fraction != fraction else f"{100 * fraction:.{digits}f}"


def text_color_on(background: ColorType) -> str:
    """Black or white, whichever has the higher contrast on `background` (WCAG luminance)."""
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(background)
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"
