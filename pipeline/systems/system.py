"""A training method that is a whole system: its fields are its options."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from torch import Tensor
from torch.nn.functional import cross_entropy

from marr_pipeline.backbone.training.method import TrainingMethod
from marr_pipeline.losses.options import Value


@dataclass(frozen=True, kw_only=True)
class System(TrainingMethod):
    """By default one batch of images as they come, and plain cross-entropy."""

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
