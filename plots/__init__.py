"""Figures of the paper: arrays in, a matplotlib Figure and its table of numbers out.

Nothing here loads matplotlib: that happens in the module of the figure that is asked for.
"""

from marr_pipeline.plots.errors import PlotError

__all__ = ["PlotError"]
