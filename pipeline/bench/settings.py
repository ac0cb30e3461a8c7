"""What each `pipeline bench` measures, and how often. Loads neither torch nor a peer."""

import math
from dataclasses import dataclass
from typing import Any, Literal

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
    center: Literal["zero", "identity", "logit-adjustment", "tempered"] = "zero"
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
        _check_at_least("repeat", self.repeat, 1)
        if not math.isfinite(self.gamma):
            raise ConfigError(f"--gamma: a finite exponent expected, got {self.gamma}")

    def document(self) -> dict[str, Any]:
        """What is fitted and how near, as JSON."""
        return {
            "gamma": self.gamma,
            "l2": self.l2,
            "center": self.center,
            "reduction": self.reduction,
            "wanted_gap": self.gap,
        }


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """How reading is timed.

    Attributes:
        repeat: timed turns, after one that is not counted.
        batch_rows: of a minibatch.
        num_batches: minibatches a turn.
        seed: of their rows.

    Raises:
        ConfigError: a value outside its range.
    """

    repeat: int = 5
    batch_rows: int = 512
    num_batches: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        _check_at_least("repeat", self.repeat, 1)
        _check_at_least("batch-rows", self.batch_rows, 1)
        _check_at_least("batches", self.num_batches, 1)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How training is timed.

    Attributes:
        steps: of a turn.
        repeat: timed turns, after one that is not counted.

    Raises:
        ConfigError: a value outside its range.
    """

    steps: int = 16
    repeat: int = 3

    def __post_init__(self) -> None:
        _check_at_least("steps", self.steps, 1)
        _check_at_least("repeat", self.repeat, 1)

    @property
    def part_steps(self) -> int:
        """Steps of a turn in which the parts of a step are timed apart."""
        return max(1, self.steps // 4)


@dataclass(frozen=True, kw_only=True)
class ScalingSettings:
    """Which sizes are compared: a span of N at the least K, and of K at the least N.

    Attributes:
        num_samples: the least N.
        num_classes: the least K.
        span: largest over least size; a decade is 10.
        num_points: sizes of each series, its ends included, evenly spaced in their logarithm.
        imbalance_ratio: of the synthetic rows.
        objective: what is fitted, how near, and how often it is timed.

    Raises:
        ConfigError: a value outside its range.
    """

    num_samples: int = 20_000
    num_classes: int = 100
    span: float = 10.0
    num_points: int = 3
    imbalance_ratio: float = 100.0
    objective: BenchSettings

    def __post_init__(self) -> None:
        _check_at_least("points", self.num_points, 2)
        if not (math.isfinite(self.span) and self.span > 1):
            raise ConfigError(f"--span: a number > 1 expected, got {self.span}")


def _check_at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"--{option}: at least {least} expected, got {value}")
