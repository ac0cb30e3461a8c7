"""A number of a report and how sure it is: its interval on one cache, its spread over several."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SIGNIFICANT = 0.05
"""A difference whose corrected p lies below is marked."""

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """None where something does not apply.

    Attributes:
        value: NaN where there is nothing to average.
        interval: of 95 %.
        std: standard deviation over seeds.
        p_holm: corrected p of its being 0.
    """

    value: float
    interval: Interval | None = None
    std: float | None = None
    p_holm: float | None = None

    @property
    def exists(self) -> bool:
        """Whether there was something to average."""
        return not math.isnan(self.value)

    @property
    def is_significant(self) -> bool:
        """Whether it is marked."""
        return self.p_holm is not None and self.p_holm < SIGNIFICANT


def over_seeds(runs: Sequence[Mapping[str, Estimate]]) -> dict[str, Estimate]:
    """Mean and standard deviation (n - 1) of every estimate over n >= 2 runs.

    Differences stay paired, since each was made within its run.
    """
    found = {}
    for name in runs[0]:
        values = np.array([run[name].value for run in runs])
        found[name] = Estimate(value=float(values.mean()), std=float(values.std(ddof=1)))
    return found
