"""What the figures raise on their own; whether a file can be written is left to `OSError`."""


class PlotError(Exception):
    """The arrays, names or the file name given to a figure do not fit together."""
