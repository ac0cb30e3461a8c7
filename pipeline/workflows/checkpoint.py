"""The network of a checkpoint, of ours or of another program, and the images it is run over."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.checkpoint import (
    Checkpoint,
    check_same_dataset,
    parse_checkpoint,
    restore_backbone,
)
from marr_pipeline.backbone.checkpoints.foreign import (
    detect_backbone,
    tensors_digest,
    trained_image_size,
)
from marr_pipeline.backbone.checkpoints.matching import match_tensors
from marr_pipeline.backbone.networks.classifier import check_images
from marr_pipeline.data.folder import NO_SPLIT
from marr_pipeline.data.normalise import Normalisation, parse_normalisation
from marr_pipeline.device import resolve_device
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.names import OF_DATASET
from marr_pipeline.state_dict import is_checkpoint, named_tensors
from marr_pipeline.systems import recorded_method, with_options
from marr_pipeline.tensor_file import read_tensor_file
from marr_pipeline.workflows.class_numbers import TRAIN, UNIFORM, prior_counts
from marr_pipeline.workflows.phase_one import (
    NOBODY,
    Listener,
    Network,
    PhaseOneRequest,
    method_prior,
    requested_dataset,
    stored_normalisation,
)

OF_TRAINING = (
    "method",
    "method_options",
    "recipe",
    "select_on",
    "iterations",
    "epochs",
    "batch_size",
    "weight_decay",
    "mixing",
    "ema",
    "accumulate",
    "precision",
    "channels_last",
    "compile",
    "sync_bn",
)
"""Fields of a request that say nothing of a network that is trained already."""

OF_READING: dict[str, object] = {"val_is": None, "exif": False, "pixel_range": None}
"""Fields that say how image files are read, as they are where a checkpoint does not tell them."""


def checkpoint_network(
    request: PhaseOneRequest,
    *,
    is_dry: bool = False,
    ranks: Ranks = ALONE,
    listener: Listener = NOBODY,
) -> Network:
    """The network of the request's checkpoint, and its images; the first process comes first.

    For a checkpoint of ours these are the very images whose rows it stores, for a foreign one
    those that `request` names. Nothing that the request says may contradict the checkpoint. A dry
    run decodes no image.

    Raises:
        ConfigError: a foreign checkpoint's backbone is unknown or does not take the images.
        DataError: the file cannot be read, an option contradicts it, it is not finished, or the
            images are others.
    """
    assert request.checkpoint is not None
    where = str(request.checkpoint)
    with ranks.in_turn():
        content = read_tensor_file(request.checkpoint)
        if is_checkpoint(content):
            stored = parse_checkpoint(content, where=where)
            network = _own_network(stored, request, is_dry=is_dry, where=where, listener=listener)
        else:
            network = _foreign_network(
                content, request, is_dry=is_dry, where=where, listener=listener
            )
    images = network.dataset
    listener.say(
        f"{network.config['backbone']} on {network.device}; {images.name} at "
        f"{images.train.image_shape[-1]} pixels, normalised by {images.normalised_by}"
    )
    for note in images.notes:
        listener.say(note)
    for warning in (*images.warnings, *network.warnings):
        listener.say(f"warning: {warning}")
    return network


def _own_network(
    stored: Checkpoint,
    request: PhaseOneRequest,
    *,
    is_dry: bool,
    where: str,
    listener: Listener,
) -> Network:
    for field in ("new_head", "prior_counts", "weights"):
        if getattr(request, field):
            raise DataError(
                f"{_option(field)}: a checkpoint of another program expected, got {where}, whose "
                "weights, head and counts are known; leave the option out"
            )
    config: dict[str, Any] = stored.record.config
    trained_on, recipe = config["dataset"], config["recipe"]
    method = recorded_method(config.get("method"))
    fixed = {
        "dataset": trained_on["name"],
        "imbalance_ratio": trained_on["imbalance_ratio"],
        "data_seed": trained_on["data_seed"],
        "tune_fraction": trained_on["tune_fraction"],
        "backbone": config["backbone"],
        "method": method.name,
        "recipe": recipe["name"],
        "select_on": config.get("select_on", "last"),
        "iterations": recipe["iterations"],
        "batch_size": recipe["batch_size"],
        "weight_decay": recipe["weight_decay"],
        "mixing": recipe.get("mixing", "none"),
        "ema": recipe.get("ema"),
        "accumulate": config.get("accumulate", 1),
        "precision": config["precision"],
        "epochs": _epochs(recipe),
        "image_size": trained_on["image_size"][0],
        **{field: trained_on.get(field, unsaid) for field, unsaid in OF_READING.items()},
    }
    for field, value in fixed.items():
        asked = getattr(request, field)
        if request.says(field) and asked != value:
            raise DataError(
                f"{_option(field)}: {'none' if value is None else value} expected, with which "
                f"{where} was trained, got {asked}; leave the option out{_of_extraction(field)}"
            )
    if with_options(method, request.method_options) != method:
        options = ", ".join(f"{name}={value}" for name, value in method.options.items())
        raise DataError(
            f"--method-option: {options} expected, with which {where} was trained, got "
            f"{', '.join(request.method_options)}; leave the option out"
        )
    if request.normalisation is not None:
        _check_normalisation(request.normalisation, trained_on, where=where)
    if not stored.finished:
        raise DataError(
            f"{where}: a finished training expected, got one stopped at step {stored.step}; "
            "give the command that made it once more, it goes on from there"
        )
    of_data = ("imbalance_ratio", "data_seed", "tune_fraction", "image_size", *OF_READING)
    as_trained = replace(request, **{field: fixed[field] for field in of_data})
    has_own_tune = "tune" in stored.record.rows and not fixed["tune_fraction"]
    if trained_on["name"] == "folder" and as_trained.val_is is None and not has_own_tune:
        as_trained = replace(as_trained, val_is=NO_SPLIT)  # a val/ there was passed over
    dataset = requested_dataset(
        as_trained, trained_on=stored.record, is_dry=is_dry, listener=listener
    )
    check_same_dataset(stored.record, dataset, where=where)
    prior, warnings = method_prior(method, dataset)
    return Network(
        model=restore_backbone(stored, where=where, method=method if "method" in config else None),
        dataset=dataset,
        config=config,
        prior_counts=prior,
        augmentation=request.augmentation or recipe["augmentation"],
        seed=request.seed if request.says("seed") else config["seed"],
        device=resolve_device(request.device),
        warnings=warnings,
    )


def _check_normalisation(said: str, dataset: Mapping[str, Any], *, where: str) -> None:
    """Raise a DataError unless a checkpoint was trained on `dataset` with that normalisation."""
    stored = Normalisation.from_record(dataset["normalisation"])
    if said == OF_DATASET:
        agrees = stored_normalisation(dataset) is None
    else:
        agrees = parse_normalisation(said).of_channels(dataset["channels"]) == stored
    if not agrees:
        raise DataError(
            f"--normalisation: {stored.text} expected, with which {where} was trained, got {said}; "
            "leave the option out"
        )


def _epochs(recipe: Mapping[str, Any]) -> float:
    """The length of a training, as a whole number where it is one."""
    iterations, steps = int(recipe["iterations"]), int(recipe["steps_per_epoch"])
    return round(iterations / steps, 2) if iterations % steps else iterations // steps


def _foreign_network(
    content: object,
    request: PhaseOneRequest,
    *,
    is_dry: bool,
    where: str,
    listener: Listener,
) -> Network:
    """The checkpoint's tensors in the network that was asked for, or else that they fit."""
    for field in OF_TRAINING:
        if request.says(field):
            raise ConfigError(
                f"{_option(field)}: a training to come expected, got {where}, whose "
                f"training is over; leave the option out{_of_extraction(field)}"
            )
    tensors = named_tensors(content, where=where, weights=request.weights)
    backbone = request.backbone or detect_backbone(tensors, where=where)
    dataset = requested_dataset(
        replace(request, backbone=backbone),
        trained_size=trained_image_size(content),
        is_dry=is_dry,
        listener=listener,
    )
    shape = dataset.train.image_shape
    model = build_backbone(backbone, dataset.num_classes, in_channels=shape[0], seed=request.seed)
    matched = match_tensors(
        tensors, model, new_head=request.new_head, where=where, backbone=backbone
    )
    matched.load_into(model)
    check_images(model, shape, name=backbone)
    prior = prior_counts(request.prior_counts, dataset.class_counts)
    said = request.prior_counts
    kind = said if said in (TRAIN, UNIFORM) else "file"
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
    warnings += [f"{where}: {note}" for note in matched.notes]
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
                "sha256": tensors_digest(matched.tensors),
                "new_head": request.new_head,
            },
            "prior_counts": "unknown" if said is None else kind,
            "seed": request.seed,
        },
        prior_counts=prior,
        augmentation=request.augmentation or dataset.defaults.augmentation,
        seed=request.seed,
        device=resolve_device(request.device),
        warnings=tuple(warnings),
    )


def _of_extraction(field: str) -> str:
    """What to give in place of a training's option, if extraction has one of its own."""
    return ", or give --extract-batch-size" if field == "batch_size" else ""


def _option(field: str) -> str:
    """The option of a request's field."""
    return "--" + field.replace("_", "-")
