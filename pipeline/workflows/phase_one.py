"""Phase one joined: a request with every setting resolved, and the network trained by it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from marr_pipeline.backbone import network_input
from marr_pipeline.backbone.checkpoints.checkpoint import TrainingRecord
from marr_pipeline.backbone.checkpoints.foreign import (
    InitialWeights,
    pretrained_weights,
    weights_of_checkpoint,
)
from marr_pipeline.backbone.networks.classifier import Backbone, check_images
from marr_pipeline.backbone.training.plan import TrainingPlan
from marr_pipeline.backbone.training.recipe import plan_recipe
from marr_pipeline.data import load_dataset
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.data.listed import parse_prefixes
from marr_pipeline.device import dtype_name, resolve_device, resolve_precision
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.errors import ConfigError
from marr_pipeline.groups import shot_groups
from marr_pipeline.names import SPLITS
from marr_pipeline.progress import Progress, silent
from marr_pipeline.protocols import RecipeTerms, protocol_of
from marr_pipeline.workflows.normalisation import asked_normalisation, stored_normalisation

ONE_THREAD_UP_TO = 16
"""Side in pixels. Networks on images this small gain 15 % by a second thread on a quiet machine
(digits, two cores: 4.6 s to 5.3 s) and lose a factor of 10 where other work runs (60 s), since
every operation ends in a barrier."""


MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class PhaseOneRequest:
    """What the user asked of phase one; None takes the dataset's or the recipe's default."""

    dataset: str
    data_root: Path | None = None
    imbalance_ratio: float | None = None
    data_seed: int = 0
    tune_fraction: float = 0.0
    image_size: int | None = None
    normalisation: str | None = None
    list_train: Path | None = None
    list_tune: Path | None = None
    list_test: Path | None = None
    path_prefixes: tuple[str, ...] = ()
    on_bad_image: str = "fail"
    seed: int = 0
    backbone: str | None = None
    checkpoint: Path | None = None
    new_head: bool = False
    pretrained: bool | None = None
    prior_counts: str | None = None
    recipe: str = "default"
    select_on: str = "last"
    iterations: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    accumulate: int = 1
    augmentation: str | None = None
    device: str = "auto"
    precision: str = "auto"
    channels_last: bool = True
    compile: bool = False
    sync_bn: bool = True
    workers: int | None = None
    resume: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.pretrained and self.checkpoint is not None:
            raise ConfigError(
                "--pretrained: one source of weights expected, got --checkpoint beside it; "
                "leave one of them out"
            )
        for option, is_given in (
            ("--new-head", self.new_head),
            ("--prior-counts", self.prior_counts is not None),
        ):
            if is_given and self.checkpoint is None:
                raise ConfigError(
                    f"{option}: a --checkpoint beside it expected, got none; leave {option} out"
                )


@dataclass(frozen=True, kw_only=True)
class Network:
    """What extraction needs: a network, its images, and where its weights came from.

    Attributes:
        model: the network.
        dataset: its images.
        config: JSON values, the record of the training or of a foreign checkpoint.
        prior_counts: (K,) images of each class that it was trained on; None if unknown.
        augmentation: a name in `AUGMENTATIONS`, of the cached views.
        seed: of that.
        device: where it runs.
        warnings: what the user should look at.
    """

    model: Backbone
    dataset: LongTailedDataset
    config: dict[str, Any]
    prior_counts: npt.NDArray[np.int64] | npt.NDArray[np.float64] | None
    augmentation: str
    seed: int
    device: torch.device
    warnings: tuple[str, ...] = ()


def requested_dataset(
    request: PhaseOneRequest,
    *,
    trained_on: TrainingRecord | None = None,
    progress: Progress = silent,
) -> LongTailedDataset:
    """The images that a request speaks of.

    Args:
        request: its fields about data, and the backbone, which may ask for images of its own.
        trained_on: what a checkpoint keeps; its rows and its normalisation are taken and nothing
            is drawn.
        progress: told how far decoding is.

    Raises:
        ConfigError: a setting is out of range.
        DataError: the images are missing, broken or too few.
    """
    config: dict[str, Any] = {} if trained_on is None else trained_on.config
    stored = config.get("dataset", {})
    known = None if request.backbone is None else network_input(request.backbone)
    lists = zip(SPLITS, (request.list_train, request.list_tune, request.list_test), strict=True)
    return load_dataset(
        request.dataset,
        data_root=request.data_root,
        imbalance_ratio=request.imbalance_ratio,
        data_seed=request.data_seed,
        tune_fraction=request.tune_fraction,
        image_size=request.image_size,
        lists={split: path for split, path in lists if path is not None},
        path_prefixes=parse_prefixes(request.path_prefixes),
        skip_unreadable=request.on_bad_image == "skip",
        workers=request.workers,
        stored_rows=None if trained_on is None else trained_on.rows,
        stored_skipped=stored.get("skipped"),
        network_size=None if known is None else known.image_size,
        normalisation=(
            asked_normalisation(request.normalisation, known)
            if trained_on is None
            else stored_normalisation(stored)
        ),
        progress=progress,
    )


def plan_training(
    request: PhaseOneRequest, *, ranks: Ranks = ALONE, progress: Progress = silent
) -> TrainingPlan:
    """Load the images and settle what will be trained, by which processes.

    Raises:
        ConfigError: a setting is out of range.
        DataError: the images are missing, broken or too few.
    """
    return plan_on(requested_dataset(request, progress=progress), request, ranks=ranks)


def plan_on(
    dataset: LongTailedDataset, request: PhaseOneRequest, *, ranks: Ranks = ALONE
) -> TrainingPlan:
    """Settle what will be trained on images that are there; the request's own are not asked.

    Raises:
        ConfigError: a setting is out of range.
    """
    settle_threads(dataset)
    terms = protocol_of(dataset.name).recipes[request.recipe]
    recipe = plan_recipe(
        request.recipe,
        terms,
        num_samples=len(dataset.train),
        defaults=dataset.defaults,
        iterations=request.iterations,
        epochs=request.epochs,
        batch_size=request.batch_size,
        augmentation=request.augmentation,
    )
    backbone = request.backbone or dataset.defaults.backbone
    device = resolve_device(request.device)
    has_common_norms = request.sync_bn and device.type == "cuda"  # torch has none for CPUs
    plan = TrainingPlan(
        dataset=dataset,
        backbone=backbone,
        recipe=recipe,
        seed=request.seed,
        precision=resolve_precision(request.precision, device),
        initial=_initial_weights(request, terms, backbone, dataset),
        select_on=request.select_on,
        accumulate=request.accumulate,
        norm_groups=1 if has_common_norms else ranks.size,
    )
    check_images(plan.initial_model(), dataset.train.image_shape, name=backbone)
    return plan


def describe_plan(plan: TrainingPlan, device: torch.device, *, ranks: Ranks = ALONE) -> list[str]:
    """The first lines of a run: what is trained, on what, how."""
    dataset, recipe, counts = plan.dataset, plan.recipe, plan.dataset.class_counts
    groups = [f"{name} {members.sum()}" for name, members in shot_groups(counts).items()]
    sizes = [f"{name} {len(split):,}" for name, split in dataset.splits.items()]
    start = ""
    if plan.initial is not None:
        start = f", from {plan.initial.record.get('weights', 'the checkpoint')}"
    pixels = ""
    if not dataset.own_normalisation:
        pixels = f"; normalised by {dataset.normalisation.text}"
    parts = "" if plan.accumulate == 1 else f" in {plan.accumulate} micro-batches"
    processes = "" if ranks.size == 1 else f", shared by {ranks.size} processes"
    if plan.norm_groups > 1:
        processes += ", each normalised by its own batch statistics"
    slow = []
    if plan.precision == torch.float16 and device.type == "cpu":
        slow = ["warning: float16 takes a CPU 5 to 10 times as long as float32"]
    return [
        f"{dataset.name}: {dataset.num_classes} classes of {counts.max():,} to {counts.min():,} "
        f"images ({', '.join(groups)}); {', '.join(sizes)}; data seed {dataset.data_seed}",
        f"{plan.backbone}{start} on {device} in {dtype_name(plan.precision)}; "
        f"recipe {recipe.name}: {recipe.iterations:,} x {recipe.batch_size}{parts}{processes}, "
        f"{recipe.augmentation}; seed {plan.seed}{pixels}",
        *slow,
        *(f"warning: {warning}" for warning in dataset.warnings),
    ]


def describe_network(network: Network) -> str:
    """A line on a trained network and the images that it is run over."""
    dataset = network.dataset
    return (
        f"{network.config['backbone']} on {network.device}; {dataset.name} at "
        f"{dataset.train.image_shape[-1]} pixels, normalised by {dataset.normalisation.text}"
    )


def describe_skipped(dataset: LongTailedDataset) -> list[str]:
    """A line for each split of which unreadable images were left out."""
    return [
        f"{dataset.name}, split {split}: left out as unreadable: {', '.join(ids[:MOST_NAMED])}"
        + (f" and {len(ids) - MOST_NAMED:,} more" if len(ids) > MOST_NAMED else "")
        for split, ids in dataset.skipped.items()
    ]


def planned_network(plan: TrainingPlan, model: Backbone, device: torch.device) -> Network:
    """`model`, made or trained by `plan`, ready for extraction."""
    return Network(
        model=model,
        dataset=plan.dataset,
        config=plan.record().config,
        prior_counts=plan.dataset.class_counts,
        augmentation=plan.recipe.augmentation,
        seed=plan.seed,
        device=device,
    )


def settle_threads(dataset: LongTailedDataset) -> None:
    """One thread for images so small that a second one costs more than it brings."""
    if dataset.train.image_shape[-1] <= ONE_THREAD_UP_TO:
        torch.set_num_threads(1)


def _initial_weights(
    request: PhaseOneRequest, terms: RecipeTerms, backbone: str, dataset: LongTailedDataset
) -> InitialWeights | None:
    num_classes, channels = dataset.num_classes, dataset.train.image_shape[0]
    is_recipes = request.pretrained is None and request.checkpoint is None and terms.pretrained
    if request.pretrained or is_recipes:
        return pretrained_weights(backbone, num_classes=num_classes, in_channels=channels)
    if request.checkpoint is None:
        return None
    return weights_of_checkpoint(
        request.checkpoint,
        backbone,
        num_classes=num_classes,
        in_channels=channels,
        new_head=request.new_head,
    )
