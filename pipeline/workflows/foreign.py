"""The network of a checkpoint that another program wrote, on the images that the options name."""

from collections.abc import Set
from dataclasses import replace

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.foreign import (
    detect_backbone,
    foreign_tensors,
    tensors_digest,
)
from marr_pipeline.backbone.checkpoints.matching import match_tensors
from marr_pipeline.backbone.networks.classifier import check_images
from marr_pipeline.device import resolve_device
from marr_pipeline.errors import DataError
from marr_pipeline.progress import Progress, silent
from marr_pipeline.workflows.class_numbers import TRAIN, UNIFORM, prior_counts
from marr_pipeline.workflows.phase_one import (
    Network,
    PhaseOneRequest,
    requested_dataset,
    settle_threads,
)

OF_TRAINING = (
    "recipe",
    "select_on",
    "iterations",
    "epochs",
    "batch_size",
    "accumulate",
    "precision",
    "channels_last",
    "compile",
    "sync_bn",
)


def foreign_network(
    content: object,
    request: PhaseOneRequest,
    *,
    given: Set[str],
    where: str,
    progress: Progress = silent,
) -> Network:
    """Put the checkpoint's tensors into the network that was asked for, or that they fit.

    Args:
        content: of the file, as `read_tensor_file` gives it.
        request: the images, the backbone, and what is known of the training.
        given: the fields of `request` that the user gave.
        where: how errors name the file.
        progress: told how far decoding is.

    Raises:
        ConfigError: the backbone is unknown or does not take the images.
        DataError: the tensors are not that network's, or the images cannot be used.
    """
    for field in OF_TRAINING:
        if field in given:
            raise DataError(
                f"--{field.replace('_', '-')}: a training to come expected, got {where}, whose "
                "training is over; leave the option out"
            )
    tensors = foreign_tensors(content, where=where)
    backbone = request.backbone or detect_backbone(tensors, where=where)
    dataset = requested_dataset(replace(request, backbone=backbone), progress=progress)
    settle_threads(dataset)
    shape = dataset.train.image_shape
    model = build_backbone(backbone, dataset.num_classes, in_channels=shape[0], seed=request.seed)
    matched = match_tensors(
        tensors, model, new_head=request.new_head, where=where, backbone=backbone
    )
    matched.load_into(model)
    check_images(model, shape, name=backbone)
    prior = prior_counts(request.prior_counts, dataset.class_counts)
    warnings = []
    if request.new_head:
        warnings.append(
            f"{where}: the head is a fresh one, so its logits mean nothing yet; the features do"
        )
    elif prior is None:
        warnings.append(
            f"{where}: the class counts that it was trained on are not known, and logit "
            f"adjustment takes those of {dataset.name} for them; say --prior-counts"
        )
    if matched.has_head and not matched.has_bias:
        warnings.append(f"{where}: its head has no bias; zeros stand for it")
    return Network(
        model=model,
        dataset=dataset,
        config={
            "dataset": dataset.record(),
            "backbone": backbone,
            "checkpoint": {
                "origin": "foreign checkpoint",
                "sha256": tensors_digest(tensors),
                "new_head": request.new_head,
            },
            "prior_counts": _kind(request.prior_counts),
            "seed": request.seed,
        },
        prior_counts=prior,
        augmentation=request.augmentation or dataset.defaults.augmentation,
        seed=request.seed,
        device=resolve_device(request.device),
        warnings=tuple(warnings),
    )


def _kind(said: str | None) -> str:
    if said is None:
        return "unknown"
    return said if said in (TRAIN, UNIFORM) else "file"
