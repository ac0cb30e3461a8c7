"""The foot of a curve over the classes: training images per class, and the ticks of the ranks."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.style import PALE, SMALL, shorten, text_width

MAX_NAMED_CLASSES = 16  # that many upright names of 7 points fit side by side under a panel
NAME_LENGTH = 14  # characters of a class name that a tick has room for


def draw_training_counts(axes: Axes, axis: ClassAxis, *, is_labelled: bool) -> None:
    """A grey profile of the training images per class on a log scale.

    Args:
        axes: a low strip under the curves.
        axis: the classes; one without training images leaves a gap.
        is_labelled: whether the vertical axis says what it shows.
    """
    counts = axis.class_counts[axis.order]
    present = counts[counts > 0]
    low, high = (int(present.min()), int(present.max())) if len(present) else (1, 1)
    bottom = 0.7 * 10.0 ** math.floor(math.log10(low))
    axes.stairs(
        np.maximum(counts, bottom),
        np.arange(axis.num_classes + 1) - 0.5,
        baseline=bottom,
        fill=True,
        color=PALE,
        linewidth=0,
    )
    axes.set_yscale("log")
    axes.set_ylim(bottom, 1.4 * high)
    decades = {10 ** math.floor(math.log10(low)), 10 ** math.floor(math.log10(high))}
    axes.set_yticks(sorted(decades))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_short_count))
    if is_labelled:
        axes.set_ylabel("train\nimages", fontsize=SMALL)
    else:
        axes.tick_params(labelleft=False)


def _short_count(value: float, _position: int | None) -> str:
    """1, 10, 100, 1k, 10k."""
    return f"{value / 1000:.0f}k" if value >= 1000 else f"{value:.0f}"


def mark_ranks(axes: Axes, axis: ClassAxis, *, length: float, note: str = "") -> None:
    """Ticks under the classes: each one's name or id if they fit, else round ranks.

    Args:
        axes: where; rank r lies at data coordinate r.
        axis: the classes.
        length: of the class axis, in points.
        note: a second line under round ranks.
    """
    axes.set_xlim(-0.5, axis.num_classes - 0.5)
    if axis.num_classes > MAX_NAMED_CLASSES:
        ranks = round_ranks(axis.num_classes)
        axes.set_xticks([rank - 1 for rank in ranks], [str(rank) for rank in ranks])
        axes.set_xlabel("class rank, head to tail" + (f"\n{note}" if note else ""))
        return
    labels = [shorten(label, length=NAME_LENGTH) for label in axis.tick_labels()]
    widest = max(text_width(label, size=SMALL) for label in labels)
    is_upright = widest > 0.9 * length / axis.num_classes
    axes.set_xticks(range(axis.num_classes), labels, rotation=90 if is_upright else 0)
    if axis.class_names is None:
        axes.set_xlabel("class id, head to tail")


def round_ranks(num_classes: int) -> list[int]:
    """At most six ranks to mark: 1 and the multiples of a round step, 1-based."""
    decade = 10 ** math.floor(math.log10(num_classes))
    steps = (decade * factor / 20 for factor in (1, 2, 4, 5, 10, 20, 40))
    step = next(s for s in steps if s == int(s) and s > 1 and num_classes / s <= 5)
    return sorted({1, *range(int(step), num_classes + 1, int(step))})
