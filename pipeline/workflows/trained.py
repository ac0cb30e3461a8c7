"""The network of a checkpoint and the images that it is run over."""

from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from marr_pipeline.backbone.checkpoints.checkpoint import (
    Checkpoint,
    check_same_dataset,
    is_checkpoint,
    parse_checkpoint,
    restore_backbone,
)
from marr_pipeline.device import resolve_device
from marr_pipeline.errors import DataError
from marr_pipeline.progress import Progress, silent
from marr_pipeline.tensor_file import read_tensor_file
from marr_pipeline.workflows.foreign import foreign_network
from marr_pipeline.workflows.normalisation import check_normalisation
from marr_pipeline.workflows.phase_one import (
    Network,
    PhaseOneRequest,
    requested_dataset,
    settle_threads,
)


def load_trained(
    checkpoint: Path, request: PhaseOneRequest, *, given: Set[str], progress: Progress = silent
) -> Network:
    """The network of a checkpoint and its images.

    For a checkpoint of ours these are the very images whose rows it stores, for a foreign one
    those that `request` names.

    Args:
        checkpoint: the file.
        request: where the images are, and the device.
        given: the fields of `request` that the user gave; none may contradict the checkpoint.
        progress: told how far decoding is.

    Raises:
        ConfigError: a foreign checkpoint's backbone is unknown or does not take the images.
        DataError: the file cannot be read, an option contradicts it, it is not finished, or the
            images are others.
    """
    content, where = read_tensor_file(checkpoint), str(checkpoint)
    if is_checkpoint(content):
        stored = parse_checkpoint(content, where=where)
        return _own_network(stored, request, given=given, where=where, progress=progress)
    return foreign_network(content, request, given=given, where=where, progress=progress)


def _own_network(
    stored: Checkpoint,
    request: PhaseOneRequest,
    *,
    given: Set[str],
    where: str,
    progress: Progress,
) -> Network:
    for option, is_given in (
        ("--new-head", request.new_head),
        ("--prior-counts", request.prior_counts is not None),
    ):
        if is_given:
            raise DataError(
                f"{option}: a checkpoint of another program expected, got {where}, whose head and "
                "counts are known; leave the option out"
            )
    config: dict[str, Any] = stored.record.config
    trained_on, recipe = config["dataset"], config["recipe"]
    fixed = {
        "dataset": trained_on["name"],
        "imbalance_ratio": trained_on["imbalance_ratio"],
        "data_seed": trained_on["data_seed"],
        "tune_fraction": trained_on["tune_fraction"],
        "backbone": config["backbone"],
        "recipe": recipe["name"],
        "select_on": config.get("select_on", "last"),
        "iterations": recipe["iterations"],
        "batch_size": recipe["batch_size"],
        "accumulate": config.get("accumulate", 1),
        "precision": config["precision"],
        "epochs": _epochs(recipe),
        "image_size": trained_on["image_size"][0],
    }
    for field, value in fixed.items():
        asked = getattr(request, field)
        if field in given and asked != value:
            raise DataError(
                f"--{field.replace('_', '-')}: {value} expected, with which {where} was "
                f"trained, got {asked}; leave the option out"
            )
    if "normalisation" in given and request.normalisation is not None:
        check_normalisation(request.normalisation, trained_on, where=where)
    if not stored.finished:
        raise DataError(
            f"{where}: a finished training expected, got one stopped at step {stored.step}; "
            "give the command that made it once more, it goes on from there"
        )
    as_trained = replace(
        request,
        imbalance_ratio=trained_on["imbalance_ratio"],
        data_seed=trained_on["data_seed"],
        tune_fraction=trained_on["tune_fraction"],
        image_size=trained_on["image_size"][0],
    )
    dataset = requested_dataset(as_trained, trained_on=stored.record, progress=progress)
    check_same_dataset(stored.record, dataset, where=where)
    settle_threads(dataset)
    return Network(
        model=restore_backbone(stored, where=where),
        dataset=dataset,
        config=config,
        prior_counts=dataset.class_counts,
        augmentation=request.augmentation or recipe["augmentation"],
        seed=request.seed if "seed" in given else config["seed"],
        device=resolve_device(request.device),
    )


def _epochs(recipe: Mapping[str, Any]) -> float:
    """The length of a training, as a whole number where it is one."""
    iterations, steps = int(recipe["iterations"]), int(recipe["steps_per_epoch"])
    return round(iterations / steps, 2) if iterations % steps else iterations // steps
