"""`--dry-run`: what a run would take, from counted images and a short trial; nothing is touched.

The trial is the training's own step, on drawn images in the planned precision, and the pass that an
extraction makes. On a CPU its processor time counts, so that it says what a machine takes that does
nothing else, however busy this one is. Decoding and augmentation come on top: a tenth or so for
images in memory.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint, load_checkpoint_of
from marr_pipeline.backbone.extract import DEFAULT_BATCH_SIZE
from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.training.plan import Execution, TrainingPlan
from marr_pipeline.backbone.training.step import TrainingStep
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.data.normalise import normalise
from marr_pipeline.data.views import Batch
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.progress import duration
from marr_pipeline.workflows.checkpoint import checkpoint_network
from marr_pipeline.workflows.phase_one import Dtype, Network, Store, rows_of_cache, threads_for
from marr_pipeline.workflows.request import NOBODY, Listener, PhaseOneRequest
from marr_pipeline.workflows.train import dry_record, plan_training, planned_network

TRIAL_SECONDS, TRIAL_CALLS = 0.2, 3
TRIAL_PIXELS = {"cpu": 64 * 32 * 32, "cuda": 1024 * 32 * 32}
"""Of all images of a trial, by the device; there are two at least, and no more than in a batch."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that one process takes on a machine that does nothing else.

    Attributes:
        step: for one step of a training.
        row: for one image through the network.
    """

    step: float
    row: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would take.

    Attributes:
        class_counts: (K,) training images of each class.
        splits: images of each split.
        recipe: of the training; None for a network that another program trained.
        bytes: that would be written.
        seconds: on a machine that does nothing else.
    """

    class_counts: list[int]
    splits: dict[str, int]
    recipe: Any
    bytes: int
    seconds: float

    @property
    def text(self) -> str:
        """The same in a line."""
        return f"would take about {duration(self.seconds)} and write about {self.bytes:,} bytes"

    def record(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def estimate_training(
    request: PhaseOneRequest,
    *,
    output: Path | None = None,
    ranks: Ranks = ALONE,
    listener: Listener = NOBODY,
) -> Estimate:
    """What `train` would take; it lists the images and decodes none, and loads no weights.

    Args:
        request: images, network and recipe.
        output: the checkpoint; one that is there must be of this training, as for `train`.
        ranks: the processes that would train.
        listener: told what would be trained.

    Raises:
        ConfigError, DataError: as `train` before its first step.
    """
    listener = listener if ranks.is_first else NOBODY
    plan = plan_training(request, ranks=ranks, listener=listener, is_dry=True)
    if output is not None and output.exists() and request.resume and not request.overwrite:
        load_checkpoint_of(output, dry_record(plan, load_checkpoint(output).record))
    model = plan.initial_model()
    network = planned_network(plan, model, request)
    # Weights and as many momenta, float32.
    num_bytes = 2 * 4 * sum(parameter.numel() for parameter in network.model.parameters())
    seconds = _all_steps(plan, request) * _seconds_a_step(plan, model, network.device)
    return _estimate(network, num_bytes, seconds / ranks.size)


def estimate_extraction(
    request: PhaseOneRequest,
    *,
    views: int = 4,
    store: Store = "both",
    dtype: Dtype = "float32",
    ranks: Ranks = ALONE,
    listener: Listener = NOBODY,
) -> Estimate:
    """What `extract` would take, the training before it included; the arguments are `extract`'s.

    Raises:
        ConfigError, DataError: as `extract` before its first row.
    """
    listener = listener if ranks.is_first else NOBODY
    seconds = 0.0
    if request.has_trained_weights:
        alone = store == "features"
        network = checkpoint_network(
            request, features_alone=alone, is_dry=True, ranks=ranks, listener=listener
        )
    else:
        plan = plan_training(request, ranks=ranks, listener=listener, is_dry=True)
        model = plan.initial_model()
        network = planned_network(plan, model, request)
        seconds = _all_steps(plan, request) * _seconds_a_step(plan, model, network.device)
    num_rows = rows_of_cache(network.dataset, views=views)
    num_classes, num_features = network.model.head.weight.shape
    width = (store != "features") * num_classes + (store != "logits") * num_features
    num_bytes = num_rows * width * (2 if dtype == "float16" else 4)
    seconds += num_rows * _seconds_a_row(network.model, network.dataset, network.device)
    return _estimate(network, num_bytes, seconds / ranks.size)


def _all_steps(plan: TrainingPlan, request: PhaseOneRequest) -> int:
    """Both stages', unless the first one has been made."""
    is_twice = plan.method.has_first_stage and request.checkpoint is None
    return (1 + is_twice) * plan.recipe.iterations


def training_pace(plan: TrainingPlan, device: torch.device) -> Pace:
    """By a trial of the plan's step and of its network on that device."""
    with torch.random.fork_rng(devices=[]):
        model = plan.initial_model()
    step = _seconds_a_step(plan, model, device)
    return Pace(step=step, row=_seconds_a_row(model, plan.dataset, device))


def _seconds_a_step(plan: TrainingPlan, model: Backbone, device: torch.device) -> float:
    dataset, batch_size = plan.dataset, plan.recipe.batch_size
    with threads_for(dataset), torch.random.fork_rng(devices=[]):
        model = model.to(device).to(memory_format=torch.channels_last).train()
        take_step = TrainingStep(model, plan, device=device, execution=Execution())
        images, labels = _drawn(dataset, device, num_images=max(1, batch_size // plan.accumulate))
        num_images, streams = len(images), len(plan.method.streams)
        batches = [(torch.cat([images] * streams), torch.cat([labels] * streams))]

        def step() -> None:
            take_step(batches, step=0, batch_size=num_images, learning_rate=0.0)

        return _seconds_of(step, device) * batch_size / num_images


def _seconds_a_row(model: Backbone, dataset: LongTailedDataset, device: torch.device) -> float:
    model = model.to(device).to(memory_format=torch.channels_last).eval()
    images, _ = _drawn(dataset, device, num_images=DEFAULT_BATCH_SIZE)
    with threads_for(dataset), torch.inference_mode():
        inputs = normalise(images, dataset.normalisation)
        return _seconds_of(lambda: model(inputs), device) / len(images)


def _drawn(dataset: LongTailedDataset, device: torch.device, *, num_images: int) -> Batch:
    """Noise in the shape of so many of its images at most, and labels."""
    channels, height, width = dataset.train.image_shape
    most = max(2, TRIAL_PIXELS.get(device.type, 0) // (height * width))
    count = min(num_images, most)
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, height, width)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % dataset.num_classes
    return images.to(device), labels.to(device)


def _seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Of the fastest call after a first one; on a CPU processor time, shared by its threads."""
    is_cpu = device.type == "cpu"
    clock = time.process_time if is_cpu else time.perf_counter
    work()
    _synchronise(device)
    calls: list[float] = []
    while len(calls) < TRIAL_CALLS or sum(calls) < TRIAL_SECONDS:
        begin = clock()
        work()
        _synchronise(device)
        calls.append(clock() - begin)
    return min(calls) / (torch.get_num_threads() if is_cpu else 1)


def _synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _estimate(network: Network, num_bytes: int, seconds: float) -> Estimate:
    dataset = network.dataset
    return Estimate(
        class_counts=dataset.class_counts.tolist(),
        splits={name: len(split) for name, split in dataset.splits.items()},
        recipe=network.config.get("recipe"),
        bytes=int(num_bytes),
        seconds=seconds,
    )
