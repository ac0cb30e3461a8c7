"""A network that is trained already, of ours or of another program, and the images it is run over.

Its weights are a checkpoint's, or those that torchvision or timm publish.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.backbone.checkpoints.checkpoint import (
    Checkpoint,
    check_same_dataset,
    parse_checkpoint,
    restore_backbone,
)
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.data.folder import NO_SPLIT
from marr_pipeline.data.normalise import Normalisation, parse_normalisation
from marr_pipeline.device import resolve_device
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.errors import DataError
from marr_pipeline.names import OF_DATASET
from marr_pipeline.state_dict import is_checkpoint
from marr_pipeline.systems import recorded_method, with_options
from marr_pipeline.tensor_file import read_tensor_file
from marr_pipeline.workflows.foreign import (
    foreign_network,
    of_extraction,
    option_of,
    published_network,
)
from marr_pipeline.workflows.phase_one import (
    Network,
    method_prior,
    requested_dataset,
    stored_normalisation,
)
from marr_pipeline.workflows.request import NOBODY, Listener, PhaseOneRequest

OF_READING: dict[str, object] = {"val_is": None, "exif": False, "pixel_range": None}
"""Fields that say how image files are read, as they are where a checkpoint does not tell them."""


def checkpoint_network(
    request: PhaseOneRequest,
    *,
    features_alone: bool = False,
    is_dry: bool = False,
    ranks: Ranks = ALONE,
    listener: Listener = NOBODY,
) -> Network:
    """The network whose weights the request has, and its images; the first process comes first.

    For a checkpoint of ours these are the very images whose rows it stores, for other weights
    those that `request` names. Nothing that the request says may contradict the checkpoint. A dry
    run decodes no image.

    Args:
        request: a checkpoint, or `pretrained`; and images.
        features_alone: whether no logits are wanted, for which no head is needed.
        is_dry: load no published weights and decode no image.
        ranks: the processes that each call this.
        listener: told what is taken.

    Raises:
        ConfigError: a foreign network is unknown or does not take the images; logits are wanted of
            published weights of other classes.
        DataError: the file cannot be read, an option contradicts it, it is not finished, or the
            images are others.
        PipelineError: published weights could not be downloaded.
    """
    how: dict[str, Any] = {"is_dry": is_dry, "listener": listener}
    where = str(request.checkpoint)
    with ranks.in_turn():
        if request.checkpoint is None:
            network = published_network(request, features_alone=features_alone, **how)
        elif is_checkpoint(content := read_tensor_file(request.checkpoint)):
            stored = parse_checkpoint(content, where=where)
            network = _own_network(stored, request, where=where, **how)
        else:
            network = foreign_network(
                content, request, features_alone=features_alone, where=where, **how
            )
    images = network.dataset
    listener.say(f"{network.config['backbone']} on {network.device}; {images.shown_as}")
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
    for field in ("new_head", "by_order", "prior_counts", "weights"):
        if getattr(request, field):
            raise DataError(
                f"{option_of(field)}: a checkpoint of another program expected, got {where}, whose "
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
                f"{option_of(field)}: {'none' if value is None else value} expected, with which "
                f"{where} was trained, got {asked}; leave the option out{of_extraction(field)}"
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
    if stored.rectified is not None:
        prior, warnings = _rectified_prior(stored.rectified, dataset, where=where)
    return Network(
        model=restore_backbone(stored, where=where, method=method if "method" in config else None),
        dataset=dataset,
        config=config
        if stored.rectified is None
        else {**config, "rectified": stored.rectified["method"]},
        prior_counts=prior,
        augmentation=request.augmentation or recipe["augmentation"],
        seed=request.seed if request.says("seed") else config["seed"],
        device=resolve_device(request.device),
        warnings=warnings,
    )


def _rectified_prior(
    rectified: Mapping[str, Any], dataset: LongTailedDataset, *, where: str
) -> tuple[npt.NDArray[np.float64] | None, tuple[str, ...]]:
    """Counts (K,) whose shares the logits of a rectified head stand for, and what to say of them.

    So logit adjustment on top does not correct twice.
    """
    log_prior = rectified["log_prior"]
    said = f"{where}: its head was rectified by {rectified['method']}"
    if log_prior is None:
        return None, (
            f"{said} and stands for no known prior; what corrects its logits by one, such as logit "
            "adjustment, takes the training counts",
        )
    shares: npt.NDArray[np.float64] = log_prior.exp().numpy()
    return shares * dataset.class_counts.sum(), (
        f"{said}; logit adjustment starts from the class shares that its logits now stand for",
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
