"""Figures of the paper: arrays in, a matplotlib Figure and its table of numbers out.

Nothing here loads matplotlib: that happens in the module of the figure that is asked for. Whether a
file can be written is left to `OSError`.
"""


class PlotError(Exception):
    """The arrays, names or the file name given to a figure do not fit together."""
