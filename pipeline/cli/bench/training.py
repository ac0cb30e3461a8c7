"""The run that `pipeline bench train` measures, bare and as `pipeline train` does it."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pipeline.backbone.batches import plan_passes
from pipeline.backbone.execution import Execution
from pipeline.backbone.record import TrainingPlan
from pipeline.backbone.train import train_backbone
from pipeline.bench.settings import TrainSettings
from pipeline.bench.training import BareStep, TrainingLoop
from pipeline.cli.bench.images import (
    ImageRequest,
    is_synthetic,
    phase_one_request,
    synthetic_dataset,
)
from pipeline.cli.phase_one import PhaseOneRequest, plan_on, plan_training
from pipeline.cli.progress import ProgressLine
from pipeline.data import AUGMENTATIONS
from pipeline.data.normalise import normalise
from pipeline.data.views import Batch


@dataclass(frozen=True, kw_only=True)
class TrainRequest(ImageRequest):
    """Images and network, and how they are to be trained.

    Attributes:
        batch_size: images a step; None for the recipe's.
        precision: a name in `PRECISIONS`.
        channels_last: memory layout.
        compile: whether the network is translated by torch.compile.
        workers: threads or processes that decode images; None for one a core.
    """

    checkpoint: None = None
    batch_size: int | None
    precision: str
    channels_last: bool
    compile: bool
    workers: int | None


def training_request(request: TrainRequest, settings: TrainSettings) -> PhaseOneRequest:
    """The same as phase one takes it: so many steps by the default recipe."""
    return replace(
        phase_one_request(request),
        iterations=settings.steps,
        batch_size=request.batch_size,
        precision=request.precision,
        channels_last=request.channels_last,
        compile=request.compile,
        workers=request.workers,
    )


def training_plan(request: TrainRequest, settings: TrainSettings) -> TrainingPlan:
    """A run of so many steps.

    Raises:
        ConfigError: options that contradict each other, or one out of its range.
        DataError: the images cannot be used.
    """
    asked = training_request(request, settings)
    if is_synthetic(request):
        return plan_on(synthetic_dataset(request), asked)
    return plan_training(asked, progress=ProgressLine("reading images"))


def first_batch(plan: TrainingPlan, *, device: torch.device) -> Batch:
    """The first that the plan trains on, augmented, on the device."""
    return next(_batches(plan, device))


def bare_step(
    plan: TrainingPlan, execution: Execution, batch: Batch, *, device: torch.device
) -> BareStep:
    """A step of the plan's fresh network on one batch."""
    model = plan.initial_model()
    model.to(device).to(memory_format=execution.memory_format).train()
    views, labels = batch
    images = normalise(views, plan.dataset.normalisation)
    return BareStep(
        model,
        images.contiguous(memory_format=execution.memory_format),
        labels,
        precision=plan.precision,
        is_compiled=execution.compile,
    )


def training_loop(
    plan: TrainingPlan,
    execution: Execution,
    batch: Batch,
    *,
    checkpoint: Path,
    device: torch.device,
) -> TrainingLoop:
    """What `pipeline train` does by the plan, anew in every turn, and its parts.

    Args:
        plan: of the run.
        execution: memory layout and compilation.
        batch: to be normalised.
        checkpoint: written, and replaced.
        device: where it trains.
    """
    passes = plan_passes(plan.recipe, num_samples=len(plan.dataset.train), seed=plan.seed)
    return TrainingLoop(
        train=lambda: train_backbone(
            plan, device=device, checkpoint=checkpoint, resume=False, execution=execution
        ),
        draw=lambda: deque(_batches(plan, device), maxlen=0),
        normalise=lambda: normalise(batch[0], plan.dataset.normalisation),
        num_images=sum(each.bounds[-1] - each.bounds[0] for each in passes),
    )


def _batches(plan: TrainingPlan, device: torch.device) -> Iterator[Batch]:
    return plan.dataset.train.batches(
        plan_passes(plan.recipe, num_samples=len(plan.dataset.train), seed=plan.seed),
        augmentation=AUGMENTATIONS[plan.recipe.augmentation],
        device=device,
    )
