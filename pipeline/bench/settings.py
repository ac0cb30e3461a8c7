"""What `pipeline bench fit` measures. Loads neither torch nor a peer."""

import math
from dataclasses import dataclass
from typing import Literal

from pipeline import names
from pipeline.errors import ConfigError

PARTS = (
    "passes",
    "lbfgs",
    "newton",
    "sgd",
    "torch-lbfgs",
    "scipy-lbfgs",
    "torchmin",
    "probmetrics",
    "netcal",
)
"""What can be measured: single passes, our optimizers, and those of others."""

DEFAULT_PARTS = tuple(part for part in PARTS if part != "sgd")
"""`sgd` follows a schedule and seeks no loss, so it is measured when asked for."""


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """The objective that is raced for, and how it is timed.

    Attributes:
        gamma: exponent of the class weights.
        l2: strength of the ridge, > 0: without one no optimum is certified to race to.
        center: where the ridge pulls to.
        reduction: of the objective, as in `RectifySettings`.
        gap: a fit has arrived once F - F* <= gap.
        repeat: timed runs of everything, after one that is not counted.
        limit_seconds: a rival's run is given up after so long.
        parts: of `PARTS`.
        newton_asked: race `newton` also where its Hessian is too dear.
        seed: of `sgd`'s batches.

    Raises:
        ConfigError: a value outside its range.
    """

    gamma: float = 1.2
    l2: float = 0.01
    center: Literal["zero", "identity", "logit-adjustment"] = "zero"
    reduction: Literal["plain", "weighted"] = "weighted"
    gap: float = 1e-6
    repeat: int = 5
    limit_seconds: float = 300.0
    parts: tuple[str, ...] = DEFAULT_PARTS
    newton_asked: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for option, value, choices in (
            ("center", self.center, names.CENTERS),
            ("reduction", self.reduction, names.REDUCTIONS),
            *(("only", part, PARTS) for part in self.parts),
        ):
            if value not in choices:
                raise ConfigError(f"--{option}: one of {', '.join(choices)} expected, got {value}")
        if not (math.isfinite(self.l2) and self.l2 > 0):
            raise ConfigError(
                f"--l2: a number > 0 expected, got {self.l2}; without a ridge no optimum is "
                "certified to race to"
            )
        for option, number in (("gap", self.gap), ("limit", self.limit_seconds)):
            if not number > 0:
                raise ConfigError(f"--{option}: a number > 0 expected, got {number}")
        if self.repeat < 1:
            raise ConfigError(f"--repeat: at least 1 expected, got {self.repeat}")
        if not math.isfinite(self.gamma):
            raise ConfigError(f"--gamma: a finite exponent expected, got {self.gamma}")
