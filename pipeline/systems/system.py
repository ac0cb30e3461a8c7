"""A training method that is a whole system: its fields are its options."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from marr_pipeline.backbone.training.method import TrainingMethod
from marr_pipeline.errors import ConfigError
from marr_pipeline.losses.options import Value

Bounds = Mapping[str, tuple[float, float]]
"""The least and the largest value of an option."""


@dataclass(frozen=True, kw_only=True)
class System(TrainingMethod):
    """By default one batch of images as they come, and plain cross-entropy.

    Raises:
        ConfigError: an option outside its bounds.
    """

    bounds: ClassVar[Bounds] = {}

    def __post_init__(self) -> None:
        for option, (low, high) in self.bounds.items():
            value = getattr(self, option)
            if not low <= value <= high:
                wanted = f"at least {low}" if high == math.inf else f"{low} to {high}"
                raise ConfigError(
                    f"--method-option {option}: {wanted} expected, got {value}; choose another"
                )

    @property
    def options(self) -> Mapping[str, Value]:
        """The fields."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def streams(self) -> tuple[str, ...]:
        """One, of permutations of all images."""
        return ("instance",)

    def loss(
        self,
        outputs: tuple[Tensor, ...],
        labels: Tensor,
        *,
        class_counts: Tensor,
        progress: float,
    ) -> Tensor:
        """Mean cross-entropy."""
        return cross_entropy(outputs[0], labels)
