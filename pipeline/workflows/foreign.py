"""A network that another program has trained, and the images it is run over.

Its weights are those of a checkpoint, or the ones that torchvision or timm publish.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from marr_pipeline.backbone import build_backbone, network_input
from marr_pipeline.backbone.checkpoints.foreign import (
    detect_backbone,
    named_by_order,
    published_weights,
    tensors_digest,
    trained_image_size,
)
from marr_pipeline.backbone.checkpoints.matching import HeadError, MatchedTensors, match_tensors
from marr_pipeline.backbone.networks.classifier import Backbone, check_images
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.device import resolve_device
from marr_pipeline.errors import ConfigError
from marr_pipeline.state_dict import named_tensors
from marr_pipeline.workflows.class_numbers import TRAIN, UNIFORM, prior_counts
from marr_pipeline.workflows.phase_one import Network, requested_dataset
from marr_pipeline.workflows.request import Listener, PhaseOneRequest

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


def foreign_network(
    content: object,
    request: PhaseOneRequest,
    *,
    features_alone: bool,
    is_dry: bool,
    where: str,
    listener: Listener,
) -> Network:
    """The checkpoint's tensors in the network that was asked for, or else that they fit.

    With features alone, a head of other classes is left out. The network was then trained on other
    images too, and these are brought to what its library's weights ask for.
    """
    _refuse_training(request, where)
    tensors = named_tensors(content, where=where, weights=request.weights)
    if request.by_order and request.backbone is None:
        raise ConfigError("--by-order: a --backbone beside it expected, got none; give it")
    backbone = request.backbone or detect_backbone(tensors, where=where)
    request = replace(request, backbone=backbone)

    def match(model: Backbone, *, new_head: bool) -> MatchedTensors:
        found = tensors
        if request.by_order:
            found = named_by_order(tensors, model, where=where, backbone=backbone)
        return match_tensors(found, model, new_head=new_head, where=where, backbone=backbone)

    other, new_head = "", request.new_head
    if features_alone and not new_head:
        other = _head_of_others(match, request)
        new_head = bool(other)
    trained_size = trained_image_size(content)
    dataset = requested_dataset(
        request,
        trained_size=trained_size,
        as_published=features_alone and new_head,
        is_dry=is_dry,
        listener=listener,
    )
    model = _fresh_network(request, dataset)
    matched = match(model, new_head=new_head)
    matched.load_into(model)
    warnings = []
    if not (features_alone and new_head):
        warnings += _guesses(request, dataset, trained_size=trained_size, where=where)
    if new_head and not features_alone:
        warnings.append(
            f"{where}: the head is a fresh one, so its logits mean nothing yet; the features do"
        )
    elif other:
        warnings.append(f"the head is left out, as features alone are stored: {other}")
    elif request.prior_counts is None and not new_head:
        warnings.append(
            f"{where}: the class counts that it was trained on are not known, and logit "
            f"adjustment takes those of {dataset.name} for them; say --prior-counts"
        )
    if request.by_order:
        warnings.append(
            f"{where}: its tensors are taken by their order, in which all shapes agree; layers of "
            "one shape may have changed places, which only the accuracy shows"
        )
    warnings += [f"{where}: {note}" for note in matched.notes]
    if matched.has_head and not matched.has_bias:
        warnings.append(f"{where}: its head has no bias; zeros stand for it")
    record = {
        "origin": "foreign checkpoint",
        "sha256": tensors_digest(matched.tensors),
        "new_head": new_head,
    }
    return _network(
        model,
        dataset,
        request,
        record,
        has_head=not (features_alone and new_head),
        warnings=warnings,
    )


def _guesses(
    request: PhaseOneRequest,
    dataset: LongTailedDataset,
    *,
    trained_size: int | None,
    where: str,
) -> list[str]:
    """A warning of what neither request nor checkpoint tells of the pixels it was trained on.

    Of images in files, which have ids; arrays have one size, and one usual normalisation.
    """
    if dataset.train.ids is None:
        return []
    taken = {}
    if request.image_size is None and trained_size is None:
        taken["--image-size"] = f"at {dataset.train.image_shape[-1]} pixels"
    if request.normalisation is None:
        taken["--normalisation"] = f"normalised by {dataset.normalised_by}"
    if not taken:
        return []
    return [
        f"{where}: how images were given to it in training is not known; here they are "
        f"{', '.join(taken.values())}; say {' and '.join(taken)}"
    ]


def published_network(
    request: PhaseOneRequest, *, features_alone: bool, is_dry: bool, listener: Listener
) -> Network:
    """A network with the weights that its library publishes; a dry run leaves them where they are.

    Their head is taken for logits, which needs data of as many classes, and left out without.
    """
    where = "--pretrained"
    _refuse_training(request, where)
    known = None if request.backbone is None else network_input(request.backbone)
    if request.backbone is None or known is None:
        raise ConfigError(
            f"--pretrained: a --backbone torchvision:NAME or timm:NAME beside it expected, got "
            f"{request.backbone or 'none'}; give one"
        )
    dataset = requested_dataset(request, as_published=True, is_dry=is_dry, listener=listener)
    if not features_alone and known.num_classes != dataset.num_classes:
        raise ConfigError(
            f"--pretrained: weights of the {dataset.num_classes:,} classes of {dataset.name} "
            f"expected for logits, got those of {known.num_classes:,}; give --store features, or "
            "train first: pipeline train --pretrained -o FILE.pt, then --checkpoint FILE.pt"
        )
    model = _fresh_network(request, dataset)
    record: dict[str, object] = {"origin": "published weights", "new_head": features_alone}
    warnings = []
    if not is_dry:
        tensors, name = published_weights(
            request.backbone, in_channels=dataset.train.image_shape[0]
        )
        listener.say(f"weights: {name}")
        matched = match_tensors(
            tensors, model, new_head=features_alone, where=name, backbone=request.backbone
        )
        matched.load_into(model)
        record |= {"weights": name, "sha256": tensors_digest(matched.tensors)}
        warnings = [f"{name}: {note}" for note in matched.notes]
    if not features_alone:
        warnings.append(
            f"the head is that of the weights: it is taken that label k of {dataset.name} is their "
            "class k"
        )
    return _network(model, dataset, request, record, has_head=not features_alone, warnings=warnings)


def _head_of_others(match: Callable[..., MatchedTensors], request: PhaseOneRequest) -> str:
    """Why a checkpoint's head is none for the data's classes; "" if it is one.

    The images are listed for it, and none decoded.
    """
    listed = requested_dataset(request, as_published=True, is_dry=True)
    try:
        match(_fresh_network(request, listed), new_head=False)
    except HeadError as error:
        return str(error).rpartition(";")[0]
    return ""


def _fresh_network(request: PhaseOneRequest, dataset: LongTailedDataset) -> Backbone:
    """A network of the request's backbone for the data's classes; it takes their images."""
    assert request.backbone is not None
    shape = dataset.train.image_shape
    model = build_backbone(
        request.backbone, dataset.num_classes, in_channels=shape[0], seed=request.seed
    )
    check_images(model, shape, name=request.backbone)
    return model


def _network(
    model: Backbone,
    dataset: LongTailedDataset,
    request: PhaseOneRequest,
    record: Mapping[str, object],
    *,
    has_head: bool,
    warnings: Sequence[str],
) -> Network:
    """A network that another program has trained; `record` says where its weights came from."""
    said = request.prior_counts
    if said is not None and not has_head:
        raise ConfigError(
            "--prior-counts: logits whose prior they tell expected, got features alone; leave "
            "--prior-counts out"
        )
    return Network(
        model=model,
        dataset=dataset,
        config={
            "dataset": dataset.record(),
            "backbone": request.backbone,
            "checkpoint": dict(record),
            "prior_counts": (
                "unknown" if said is None else said if said in (TRAIN, UNIFORM) else "file"
            ),
            "seed": request.seed,
        },
        prior_counts=prior_counts(said, dataset.class_counts),
        augmentation=request.augmentation or dataset.defaults.augmentation,
        seed=request.seed,
        device=resolve_device(request.device),
        warnings=tuple(warnings),
        has_head=has_head,
    )


def _refuse_training(request: PhaseOneRequest, where: str) -> None:
    """Raise a ConfigError if the request says how weights are trained that are there already."""
    for field in OF_TRAINING:
        if request.says(field):
            raise ConfigError(
                f"{option_of(field)}: a training to come expected, got {where}, whose "
                f"training is over; leave the option out{of_extraction(field)}"
            )


def of_extraction(field: str) -> str:
    """What to give in place of a training's option, if extraction has one of its own."""
    return ", or give --extract-batch-size" if field == "batch_size" else ""


def option_of(field: str) -> str:
    """The option of a request's field."""
    return "--" + field.replace("_", "-")
