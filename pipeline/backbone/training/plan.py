"""A training before it starts: what decides its weights, and how it runs on its machines."""

from dataclasses import dataclass

import torch

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.checkpoint import TrainingRecord
from marr_pipeline.backbone.checkpoints.foreign import InitialWeights
from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.training.batches import check_batches
from marr_pipeline.backbone.training.recipe import Recipe
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.data.views import DRAWS
from marr_pipeline.device import dtype_name
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A run before it starts: what `train_backbone` does is a function of this and the device.

    Attributes:
        dataset: its training split is learned from.
        backbone: a name in `BACKBONES`.
        recipe: what happens at every step.
        seed: of the initial weights, the order of the images and their augmentation.
        precision: of the forward and backward pass, float32, bfloat16 or float16; the weights and
            the loss are float32 always.
        initial: weights to start from; None draws all of them.
        select_on: `tune` keeps the weights that are best on that split, `last` the last ones.
        accumulate: micro-batches of a step, each with batch statistics of its own; the gradient is
            that of the whole batch.
        norm_groups: into how many parts batch statistics divide a micro-batch: 1, or the number
            of processes, which then decides the weights.
    """

    dataset: LongTailedDataset
    backbone: str
    recipe: Recipe
    seed: int
    precision: torch.dtype
    initial: InitialWeights | None = None
    select_on: str = "last"
    accumulate: int = 1
    norm_groups: int = 1

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed: at least 0 expected, got {self.seed}; choose another")
        if self.select_on == "tune" and self.dataset.tune is None:
            raise ConfigError(
                f"--select-on tune: a tune split expected, got {self.dataset.name} without one; "
                "hold one out with --tune-fraction, or keep the last weights"
            )
        check_batches(
            self.recipe, num_samples=len(self.dataset.train), micro_batches=self.accumulate
        )

    def initial_model(self) -> Backbone:
        """The network before its first step.

        Raises:
            ConfigError: the backbone is unknown or does not take the images.
        """
        model = build_backbone(
            self.backbone,
            self.dataset.num_classes,
            in_channels=self.dataset.train.image_shape[0],
            seed=self.seed,
        )
        if self.initial is not None:
            self.initial.matched.load_into(model)
        return model

    def record(self) -> TrainingRecord:
        """What a checkpoint of this run keeps."""
        config: dict[str, object] = {
            "dataset": self.dataset.record(),
            "backbone": self.backbone,
            "recipe": self.recipe.record(),
            "seed": self.seed,
            "precision": dtype_name(self.precision),
            "draws": DRAWS,
        }
        if self.initial is not None:
            config["initial"] = self.initial.record
        if self.select_on != "last":
            config["select_on"] = self.select_on
        for field in ("accumulate", "norm_groups"):
            if getattr(self, field) != 1:
                config[field] = getattr(self, field)
        return TrainingRecord(config, self.dataset.source_rows())


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Kept in a checkpoint's provenance and never compared: a resumed run may change it.

    Attributes:
        channels_last: images as (N, H, W, C) in memory, for which most kernels are faster.
        compile: translate the network by torch.compile; takes a minute or more at the start.
        ranks: the processes that share every batch.
    """

    channels_last: bool = True
    compile: bool = False
    ranks: Ranks = ALONE

    @property
    def memory_format(self) -> torch.memory_format:
        """Of weights and images."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def record(self) -> dict[str, str]:
        """What a checkpoint's provenance says of it."""
        layout = "channels last" if self.channels_last else "channels first"
        return {
            "memory": layout,
            "compiled": "yes" if self.compile else "no",
            "processes": str(self.ranks.size),
        }
