"""Figures of the paper: arrays in, a matplotlib Figure and its table of numbers out.

Nothing here loads matplotlib: that happens in the module of the figure that is asked for. Whether a
file can be written is left to `OSError`.
"""

from collections.abc import Sized


class PlotError(Exception):
    """The arrays, names or the file name given to a figure do not fit together."""


def check_number(where: str, found: Sized, most: int, what: str = "series") -> None:
    """Raise a PlotError unless there are 1 to `most` of what one figure has room for."""
    if not 1 <= len(found) <= most:
        raise PlotError(
            f"{where}: 1 to {most} {what} expected, got {len(found)}; draw several figures instead"
        )
