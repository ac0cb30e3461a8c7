"""Images and networks that `pipeline bench` measures on, and the bare loop over them."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.backbone import build_backbone
from pipeline.backbone.checkpoint import load_checkpoint
from pipeline.backbone.classifier import check_images
from pipeline.backbone.extract import plan_blocks, view_blocks
from pipeline.cli.phase_one import (
    Network,
    PhaseOneRequest,
    plan_training,
    planned_network,
)
from pipeline.cli.progress import ProgressLine
from pipeline.cli.trained import load_trained
from pipeline.data.defaults import COLOUR_DEFAULTS
from pipeline.data.images import ImageSplit, LongTailedDataset
from pipeline.data.normalise import channel_statistics, normalise
from pipeline.device import resolve_device
from pipeline.errors import ConfigError

DEFAULT_IMAGES, DEFAULT_CLASSES, DEFAULT_SIZE = 4096, 100, 32
UNNAMED = "the checkpoint's"
GIVEN = ("dataset", "imbalance_ratio", "backbone")
"""Options that a checkpoint has an opinion on."""


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """Which images and which network the user asked for; None takes the default.

    Attributes:
        dataset: a name in `DATASETS`; None for a checkpoint's, or for synthetic images.
        data_root: folder of its images.
        imbalance_ratio: of its subset.
        checkpoint: a trained network; without one it has random weights, and costs the same.
        samples: N of synthetic images.
        classes: K of synthetic images.
        image_size: side of synthetic images in pixels.
        backbone: network of random weights.
        augmentation: of the views.
        device: where the network runs.
        seed: of synthetic images, random weights and views.
    """

    dataset: str | None
    data_root: Path | None
    imbalance_ratio: float | None
    checkpoint: Path | None
    samples: int | None
    classes: int | None
    image_size: int | None
    backbone: str | None
    augmentation: str | None
    device: str
    seed: int = 0


def requested_network(request: ImageRequest) -> Network:
    """The network and its images.

    Raises:
        ConfigError: options that contradict each other, or one out of its range.
        DataError: the checkpoint or the images cannot be used.
    """
    if is_synthetic(request):
        return synthetic_network(request)
    asked = phase_one_request(request)
    if request.checkpoint is None:
        plan = plan_training(asked, progress=ProgressLine("reading images"))
        return planned_network(plan, plan.initial_model(), resolve_device(request.device))
    given = {name for name in GIVEN if getattr(request, name) is not None}
    return network_of_checkpoint(request.checkpoint, asked, given=given)


def is_synthetic(request: ImageRequest) -> bool:
    """Whether the images are to be drawn, since none were named.

    Raises:
        ConfigError: an option for images of the other kind.
    """
    if request.dataset is None and request.checkpoint is None:
        _refuse(request, ("data_root", "imbalance_ratio"), "a --dataset beside it")
        return True
    _refuse(request, ("samples", "classes", "image_size"), "synthetic images")
    return False


def phase_one_request(request: ImageRequest) -> PhaseOneRequest:
    """The same as phase one takes it."""
    return PhaseOneRequest(
        dataset=request.dataset or UNNAMED,
        data_root=request.data_root,
        imbalance_ratio=request.imbalance_ratio,
        backbone=request.backbone,
        augmentation=request.augmentation,
        device=request.device,
        seed=request.seed,
    )


def network_of_checkpoint(
    checkpoint: Path, request: PhaseOneRequest, *, given: Set[str] = frozenset()
) -> Network:
    """The network of a checkpoint on its own images, whose dataset need not be named.

    Args:
        checkpoint: the file.
        request: where the images are, and the device.
        given: the fields of `request` that the user gave; none may contradict the checkpoint.

    Raises:
        DataError: the checkpoint or the images cannot be used, or an option contradicts it.
    """
    trained_on = load_checkpoint(checkpoint).record.config["dataset"]
    assert isinstance(trained_on, dict)
    if "dataset" not in given:
        request = replace(request, dataset=trained_on["name"])
    return load_trained(checkpoint, request, given=given, progress=ProgressLine("reading images"))


def synthetic_network(request: ImageRequest) -> Network:
    """Random images and random weights.

    Raises:
        ConfigError: fewer images than classes, a size out of range, or one that the network does
            not take.
    """
    dataset = synthetic_dataset(request)
    backbone = request.backbone or dataset.defaults.backbone
    model = build_backbone(backbone, dataset.num_classes, in_channels=3, seed=request.seed)
    check_images(model, dataset.train.image_shape, name=backbone)
    return Network(
        model=model,
        dataset=dataset,
        config={"dataset": dataset.record(), "backbone": backbone, "seed": request.seed},
        prior_counts=dataset.class_counts,
        augmentation=request.augmentation or dataset.defaults.augmentation,
        seed=request.seed,
        device=resolve_device(request.device),
    )


def synthetic_dataset(request: ImageRequest) -> LongTailedDataset:
    """Images of random pixels, about as many of every class.

    Raises:
        ConfigError: fewer images than classes, or a size out of range.
    """
    num_images = DEFAULT_IMAGES if request.samples is None else request.samples
    num_classes = DEFAULT_CLASSES if request.classes is None else request.classes
    size = DEFAULT_SIZE if request.image_size is None else request.image_size
    if not 2 <= num_classes <= num_images or size < 8:
        raise ConfigError(
            "--samples, --classes, --image-size: at least 2 classes, an image of each, and 8 "
            f"pixels expected, got {num_images}, {num_classes} and {size}; give others"
        )
    generator = torch.Generator().manual_seed(request.seed)
    shape = (num_images, 3, size, size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.arange(num_images) % num_classes
    return LongTailedDataset(
        name="synthetic",
        class_names=tuple(str(label) for label in range(num_classes)),
        class_counts=np.bincount(labels.numpy()).astype(np.int64),
        train=ImageSplit(images, labels, torch.arange(num_images)),
        tune=None,
        test=None,
        normalisation=channel_statistics(images),
        defaults=COLOUR_DEFAULTS,
        imbalance_ratio=None,
        tune_fraction=0.0,
        data_seed=request.seed,
    )


def view_batches(network: Network, views: Mapping[str, tuple[str, ...]]) -> Iterator[Tensor]:
    """The network's input for every view of every split, in the batches of extraction.

    Args:
        network: whose images are drawn.
        views: of each split, `clean` or `augmented`.

    Yields:
        (B, C, H, W) float32 on the network's device.
    """
    dataset, device = network.dataset, network.device
    for name, split in dataset.splits.items():
        for _, batch in view_blocks(
            split,
            plan_blocks(len(split), num_views=len(views[name])),
            views=views[name],
            augmentation=network.augmentation,
            seed=network.seed,
            device=device,
        ):
            yield normalise(batch, dataset.normalisation)


def _refuse(request: ImageRequest, fields: tuple[str, ...], expected: str) -> None:
    for field in fields:
        if getattr(request, field) is not None:
            option = f"--{field.replace('_', '-')}"
            raise ConfigError(f"{option}: {expected} expected, got none; leave {option} out")
