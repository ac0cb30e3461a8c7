"""What a method does to each class: checked, from head to tail, and as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from marr_pipeline.plots import PlotError, check_number
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.save import Column, Table
from marr_pipeline.plots.smoothing import running_mean, running_quartiles
from marr_pipeline.plots.style import MAX_SERIES

Values = npt.NDArray[np.floating]

FINITE = (-np.finfo(float).max, np.finfo(float).max)
FRACTION = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassValues:
    """Base of what a figure is told of one method: arrays (K,) by class id, and single numbers.

    NaN stands where a class has no images, or a number does not exist.

    Attributes:
        EACH: what an array has one value of.
        LIMITS: smallest and largest value of a field; one that is not named is finite.

    Raises:
        PlotError: shapes differ, or a value is out of its range.
    """

    EACH: ClassVar[str] = "class"
    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __post_init__(self) -> None:
        kind = type(self).__name__
        shapes = {name: v.shape for name, v in vars(self).items() if isinstance(v, np.ndarray)}
        if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
            raise PlotError(
                f"{kind}: values of one shape (K,) expected, got {shapes}; "
                f"pass one value per {self.EACH}"
            )
        for name, value in vars(self).items():
            low, high = self.LIMITS.get(name, FINITE)
            values = np.atleast_1d(np.asarray(value, dtype=np.float64))
            wrong = values[(values < low) | (values > high)]
            if len(wrong):
                raise PlotError(
                    f"{kind}.{name}: values in {low:g}..{high:g} or NaN expected, got "
                    f"{wrong[0]:g}; pass finite numbers, and fractions instead of per cent"
                )

    def by_rank(self, quantity: str, axis: ClassAxis) -> npt.NDArray[np.float64]:
        """The values (K,) of an array field from head to tail."""
        return np.asarray(getattr(self, quantity), dtype=np.float64)[axis.order]


def check_series(what: str, series: Mapping[str, ClassValues], axis: ClassAxis) -> None:
    """Refuse as `what` no series, too many to tell apart, or another number of classes."""
    check_number(what, series, MAX_SERIES)
    for name, record in series.items():
        num_classes = next(len(v) for v in vars(record).values() if isinstance(v, np.ndarray))
        if num_classes != axis.num_classes:
            raise PlotError(
                f"{what}[{name!r}]: {axis.num_classes} classes expected, as class_counts has, "
                f"got {num_classes}; pass values and counts of the same dataset"
            )


def class_table(axis: ClassAxis, series: Mapping[str, ClassValues]) -> Table:
    """One row per class from head to tail.

    class_id, class_name (empty without names), class_count, rank (from 1) and group; then for each
    series S and each field F of it the column S.F. Beyond 50 classes an array's running mean
    S.smooth_F follows it, and beyond 200 classes its running quartiles S.low_F and S.high_F; a
    single number is the same in every row.
    """
    table: dict[str, Column] = {
        "class_id": axis.order,
        "class_name": [axis.names[class_id] for class_id in axis.order],
        "class_count": axis.class_counts[axis.order],
        "rank": np.arange(1, axis.num_classes + 1),
        "group": [axis.group_names[class_id] for class_id in axis.order],
    }
    for name, record in series.items():
        for field, value in vars(record).items():
            if not isinstance(value, np.ndarray):
                table[f"{name}.{field}"] = np.full(axis.num_classes, value)
                continue
            values = record.by_rank(field, axis)
            table[f"{name}.{field}"] = values
            if axis.is_smoothed:
                table[f"{name}.smooth_{field}"] = running_mean(values)
            if axis.is_banded:
                low, high = running_quartiles(values)
                table |= {f"{name}.low_{field}": low, f"{name}.high_{field}": high}
    return table
