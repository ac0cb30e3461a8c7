"""What a network was trained from, and the differences between two such records in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.initial import InitialWeights
from marr_pipeline.backbone.networks.model import Backbone
from marr_pipeline.backbone.training.batches import check_batches
from marr_pipeline.backbone.training.recipe import Recipe
from marr_pipeline.data.images import LongTailedDataset
from marr_pipeline.device import dtype_name
from marr_pipeline.errors import ConfigError, DataError


@dataclass(frozen=True)
class TrainingRecord:
    """All that decides the weights of a run, the library versions and the hardware aside.

    Attributes:
        config: JSON values: `dataset`, `backbone`, `recipe`, `seed`, `precision`; `initial` if the
            weights to start from were not drawn, `select_on` if not the last ones are kept,
            `accumulate` and `norm_groups` if they are not 1.
        rows: per split, the rows (N,) int64 it took from its source.
    """

    config: dict[str, object]
    rows: dict[str, npt.NDArray[np.int64]]


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
        }
        if self.initial is not None:
            config["initial"] = self.initial.record
        if self.select_on != "last":
            config["select_on"] = self.select_on
        for field in ("accumulate", "norm_groups"):
            if getattr(self, field) != 1:
                config[field] = getattr(self, field)
        return TrainingRecord(config, self.dataset.source_rows())


def check_same_dataset(stored: TrainingRecord, dataset: LongTailedDataset, *, where: str) -> None:
    """Raise a DataError that names each difference between the data trained on and `dataset`."""
    was = TrainingRecord({"dataset": stored.config["dataset"]}, stored.rows)
    differences = record_differences(
        was, TrainingRecord({"dataset": dataset.record()}, dataset.source_rows())
    )
    if differences:
        raise DataError(
            f"{where}: the data that the network was trained on expected, got another: "
            f"{'; '.join(differences)}; leave these options to the checkpoint"
        )


def record_differences(stored: TrainingRecord, asked: TrainingRecord) -> list[str]:
    """One phrase for each difference, such as `recipe.iterations 13000, asked 200`."""
    found = _differences(stored.config, asked.config, "")
    for split in sorted(stored.rows.keys() | asked.rows.keys()):
        before, now = stored.rows.get(split), asked.rows.get(split)
        if before is None or now is None:
            found.append(f"split {split} {_present(before)}, asked {_present(now)}")
        elif not np.array_equal(before, now):
            found.append(f"the images of split {split}")
    return found


def _differences(stored: object, asked: object, path: str) -> list[str]:
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        found: list[str] = []
        for key in sorted(stored.keys() | asked.keys()):
            inner = f"{path}.{key}" if path else str(key)
            found += _differences(stored.get(key), asked.get(key), inner)
        return found
    return [] if stored == asked else [f"{path} {_short(stored)}, asked {_short(asked)}"]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _present(rows: npt.NDArray[np.int64] | None) -> str:
    return "absent" if rows is None else f"of {len(rows)} images"
