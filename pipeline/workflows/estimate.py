"""`--dry-run`: what a run would take, from counted operations and shapes; nothing is touched.

An image costs the floating-point operations of its forward pass, as torch counts them on shapes
alone, and in training three times as many. Over the rate that this machine reaches in a short trial
of a convolution, a normalisation and a ReLU, as networks are made of, that is a time, good to a
factor of two or so; what comes on top, such as decoding and augmentation, is not in it.
"""

import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint, load_checkpoint_of
from marr_pipeline.backbone.networks.classifier import Backbone, forward_of_shapes
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.progress import duration
from marr_pipeline.workflows.checkpoint import checkpoint_network
from marr_pipeline.workflows.phase_one import Dtype, Network, Store, threads_for
from marr_pipeline.workflows.request import NOBODY, Listener, PhaseOneRequest
from marr_pipeline.workflows.train import plan_training, planned_network

TRIAL_SECONDS = 0.15
TRIAL_SHAPE = (64, 32, 16, 16)
"""Images, channels and pixels of the trial: those of the middle of a CIFAR network."""
TRAINING_PASSES = 3
"""A step costs the forward pass, and twice as much the way back."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would take.

    Attributes:
        class_counts: (K,) training images of each class.
        splits: images of each split.
        recipe: of the training; None for a network that another program trained.
        bytes: that would be written.
        seconds: None where the operations of the network cannot be counted.
    """

    class_counts: list[int]
    splits: dict[str, int]
    recipe: Any
    bytes: int
    seconds: float | None

    @property
    def text(self) -> str:
        """The same in a line."""
        size = f"write about {self.bytes:,} bytes"
        if self.seconds is None:
            return f"would {size}; how long it takes cannot be said of this network"
        return f"would take about {duration(self.seconds)} and {size}"

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
    network, num_images = _planned(request, ranks, listener, output=output)
    # Weights and as many momenta, float32.
    num_bytes = 2 * 4 * sum(parameter.numel() for parameter in network.model.parameters())
    return _estimate(network, num_bytes, num_images * TRAINING_PASSES / ranks.size)


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
    if request.has_trained_weights:
        listener = listener if ranks.is_first else NOBODY
        alone = store == "features"
        network = checkpoint_network(
            request, features_alone=alone, is_dry=True, ranks=ranks, listener=listener
        )
        num_images = 0
    else:
        network, num_images = _planned(request, ranks, listener)
    splits = network.dataset.splits.values()
    num_rows = sum(len(split) for split in splits) + views * len(network.dataset.train)
    num_classes, num_features = network.model.head.weight.shape
    width = (store != "features") * num_classes + (store != "logits") * num_features
    num_bytes = num_rows * width * (2 if dtype == "float16" else 4)
    return _estimate(network, num_bytes, (num_images * TRAINING_PASSES + num_rows) / ranks.size)


def _planned(
    request: PhaseOneRequest, ranks: Ranks, listener: Listener, *, output: Path | None = None
) -> tuple[Network, int]:
    """An untrained network, and how many images its training would go through."""
    listener = listener if ranks.is_first else NOBODY
    plan = plan_training(request, ranks=ranks, listener=listener, is_dry=True)
    if output is not None and output.exists() and request.resume and not request.overwrite:
        asked = plan.record()
        stored = load_checkpoint(output).record.config
        if plan.initial is None and "initial" in stored:  # a dry run draws all weights
            asked.config["initial"] = stored["initial"]
        load_checkpoint_of(output, asked)
    network = planned_network(plan, plan.initial_model(), request)
    is_twice = plan.method.has_first_stage and request.checkpoint is None
    batches_a_step = len(plan.method.streams) + is_twice
    return network, batches_a_step * plan.recipe.iterations * plan.recipe.batch_size


def _estimate(network: Network, num_bytes: int, num_passes: float) -> Estimate:
    """Of so many forward passes of one image, or what costs as much."""
    dataset = network.dataset
    count = forward_operations(network.model, dataset.train.image_shape)
    seconds = None
    if count is not None:
        with threads_for(dataset):
            seconds = num_passes * count / operations_per_second(network.device)
    return Estimate(
        class_counts=dataset.class_counts.tolist(),
        splits={name: len(split) for name, split in dataset.splits.items()},
        recipe=network.config.get("recipe"),
        bytes=int(num_bytes),
        seconds=seconds,
    )


def forward_operations(model: Backbone, image_shape: tuple[int, int, int]) -> int | None:
    """Floating-point operations of one image's forward pass; None where torch counts none."""
    with FlopCounterMode(display=False) as counter:
        forward_of_shapes(model, image_shape)
    return counter.get_total_flops() or None


@cache
def operations_per_second(device: torch.device) -> float:
    """What a forward pass reaches here, by a trial of `TRIAL_SECONDS` after a first pass; once."""
    images = torch.rand(TRIAL_SHAPE, device=device).to(memory_format=torch.channels_last)
    width = TRIAL_SHAPE[1]
    layers = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
    layers = layers.to(device).to(memory_format=torch.channels_last)
    per_pass = 2 * 9 * width * images.numel()
    with torch.inference_mode():
        _synchronised(layers(images))
        begin, num_passes = time.perf_counter(), 0
        while (seconds := time.perf_counter() - begin) < TRIAL_SECONDS or num_passes == 0:
            _synchronised(layers(images))
            num_passes += 1
    return num_passes * per_pass / seconds


def _synchronised(result: torch.Tensor) -> None:
    """Wait for the device."""
    if result.is_cuda:
        torch.cuda.synchronize(result.device)
