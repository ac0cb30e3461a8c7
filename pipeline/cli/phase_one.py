"""Phase one joined: a request with every setting resolved, trained, or taken from a checkpoint."""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.backbone import RECIPES, build_backbone
from pipeline.backbone.checkpoint import load_checkpoint, restore_backbone
from pipeline.backbone.recipe import plan_recipe
from pipeline.backbone.record import TrainingPlan, check_same_dataset, record_differences
from pipeline.backbone.resnet import ResNet
from pipeline.backbone.train import TrainedBackbone, train_backbone
from pipeline.data import load_dataset
from pipeline.data.images import LongTailedDataset
from pipeline.device import dtype_name, resolve_device, training_precision
from pipeline.errors import DataError
from pipeline.groups import shot_groups
from pipeline.progress import Progress, silent

ONE_THREAD_UP_TO = 16
"""Side in pixels. Networks on images this small gain 15 % by a second thread on a quiet machine
(digits, two cores: 4.6 s to 5.3 s) and lose a factor of 10 where other work runs (60 s), since
every operation ends in a barrier."""


@dataclass(frozen=True, kw_only=True)
class PhaseOneRequest:
    """What the user asked of phase one; None takes the dataset's or the recipe's default."""

    dataset: str
    data_root: Path | None = None
    imbalance_ratio: float | None = None
    data_seed: int = 0
    tune_fraction: float = 0.0
    image_size: int = 32
    seed: int = 0
    backbone: str | None = None
    recipe: str = "default"
    iterations: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    augmentation: str | None = None
    device: str = "auto"
    workers: int | None = None
    resume: bool = True
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Network:
    """What extraction needs: a network, its images, and the record of its training."""

    model: ResNet
    dataset: LongTailedDataset
    config: dict[str, Any]
    augmentation: str
    seed: int
    device: torch.device


def plan_training(request: PhaseOneRequest, *, progress: Progress = silent) -> TrainingPlan:
    """Load the images and settle what will be trained.

    Raises:
        ConfigError: a setting is out of range.
        DataError: the images are missing, broken or too few.
    """
    precision = training_precision(resolve_device(request.device))
    dataset = load_dataset(
        request.dataset,
        data_root=request.data_root,
        imbalance_ratio=request.imbalance_ratio,
        data_seed=request.data_seed,
        tune_fraction=request.tune_fraction,
        image_size=request.image_size,
        workers=request.workers,
        progress=progress,
    )
    _settle_threads(dataset)
    recipe = plan_recipe(
        request.recipe,
        RECIPES[request.recipe],
        num_samples=len(dataset.train),
        defaults=dataset.defaults,
        iterations=request.iterations,
        epochs=request.epochs,
        batch_size=request.batch_size,
        augmentation=request.augmentation,
    )
    return TrainingPlan(
        dataset=dataset,
        backbone=request.backbone or dataset.defaults.backbone,
        recipe=recipe,
        seed=request.seed,
        precision=precision,
    )


def describe_plan(plan: TrainingPlan, device: torch.device) -> list[str]:
    """The first lines of a run: what is trained, on what, how."""
    dataset, recipe, counts = plan.dataset, plan.recipe, plan.dataset.class_counts
    groups = [f"{name} {members.sum()}" for name, members in shot_groups(counts).items()]
    sizes = [f"{name} {len(split):,}" for name, split in dataset.splits.items()]
    return [
        f"{dataset.name}: {dataset.num_classes} classes of {counts.max():,} to {counts.min():,} "
        f"images ({', '.join(groups)}); {', '.join(sizes)}; data seed {dataset.data_seed}",
        f"{plan.backbone} on {device} in {dtype_name(plan.precision)}; recipe {recipe.name}: "
        f"{recipe.iterations:,} x {recipe.batch_size}, {recipe.augmentation}; seed {plan.seed}",
    ]


def train_or_resume(
    plan: TrainingPlan, checkpoint: Path, request: PhaseOneRequest, *, progress: Progress = silent
) -> TrainedBackbone:
    """Train; a checkpoint of this very plan is gone on with, and reused if it is finished.

    `overwrite` replaces a checkpoint of another plan, `resume=False` any.
    """
    resume = request.resume
    if resume and request.overwrite and checkpoint.exists():
        try:
            resume = not record_differences(load_checkpoint(checkpoint).record, plan.record())
        except DataError:
            resume = False  # no checkpoint of ours, and the user said that it may go
    return train_backbone(
        plan,
        device=resolve_device(request.device),
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
    )


def planned_network(plan: TrainingPlan, model: ResNet, device: torch.device) -> Network:
    """`model`, made or trained by `plan`, ready for extraction."""
    return Network(
        model=model,
        dataset=plan.dataset,
        config=plan.record().config,
        augmentation=plan.recipe.augmentation,
        seed=plan.seed,
        device=device,
    )


def fresh_model(plan: TrainingPlan) -> ResNet:
    """The untrained network of a plan, for estimates."""
    channels = plan.dataset.train.images.shape[1]
    return build_backbone(
        plan.backbone, plan.dataset.num_classes, in_channels=channels, seed=plan.seed
    )


def load_trained(
    checkpoint: Path, request: PhaseOneRequest, *, given: Set[str], progress: Progress = silent
) -> Network:
    """The network of a checkpoint of ours, and the very images whose rows it stores.

    Args:
        checkpoint: the file.
        request: where the images are, and the device.
        given: the fields of `request` that the user gave; none may contradict the checkpoint.
        progress: told how far decoding is.

    Raises:
        DataError: an option contradicts the checkpoint, it is not finished, or the images are
            others.
    """
    stored = load_checkpoint(checkpoint)
    config: dict[str, Any] = stored.record.config
    trained_on, recipe = config["dataset"], config["recipe"]
    fixed = {
        "dataset": trained_on["name"],
        "imbalance_ratio": trained_on["imbalance_ratio"],
        "data_seed": trained_on["data_seed"],
        "tune_fraction": trained_on["tune_fraction"],
        "backbone": config["backbone"],
        "recipe": recipe["name"],
        "iterations": recipe["iterations"],
    }
    for field, value in fixed.items():
        asked = getattr(request, field)
        if field in given and asked != value:
            raise DataError(
                f"--{field.replace('_', '-')}: {value} expected, with which {checkpoint} was "
                f"trained, got {asked}; leave the option out"
            )
    if not stored.finished:
        raise DataError(
            f"{checkpoint}: a finished training expected, got one stopped at step {stored.step}; "
            "give the command that made it once more, it goes on from there"
        )
    dataset = load_dataset(
        request.dataset,
        data_root=request.data_root,
        imbalance_ratio=trained_on["imbalance_ratio"],
        data_seed=trained_on["data_seed"],
        tune_fraction=trained_on["tune_fraction"],
        image_size=trained_on["image_size"][0],
        workers=request.workers,
        stored_rows=stored.record.rows,
        progress=progress,
    )
    check_same_dataset(stored.record, dataset, where=str(checkpoint))
    _settle_threads(dataset)
    return Network(
        model=restore_backbone(stored, where=str(checkpoint)),
        dataset=dataset,
        config=config,
        augmentation=request.augmentation or recipe["augmentation"],
        seed=request.seed if "seed" in given else config["seed"],
        device=resolve_device(request.device),
    )


def _settle_threads(dataset: LongTailedDataset) -> None:
    if dataset.train.images.shape[-1] <= ONE_THREAD_UP_TO:
        torch.set_num_threads(1)
