"""`train`: a network trained on the images that are asked for, begun, gone on with or reused."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from marr_pipeline.backbone.checkpoints.checkpoint import (
    TrainingRecord,
    load_checkpoint,
    record_differences,
)
from marr_pipeline.backbone.checkpoints.foreign import (
    InitialWeights,
    pretrained_weights,
    torchvision_name,
    weights_of_checkpoint,
)
from marr_pipeline.backbone.networks.classifier import Backbone, check_images
from marr_pipeline.backbone.training.method import LossMethod
from marr_pipeline.backbone.training.plan import Execution, TrainingPlan, plan_recipe
from marr_pipeline.backbone.training.reports import metrics_path
from marr_pipeline.backbone.training.train import TrainedBackbone, train_backbone
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.device import dtype_name, resolve_device, resolve_precision
from marr_pipeline.distributed import ALONE, LostRankError, Ranks
from marr_pipeline.errors import DataError, PipelineError
from marr_pipeline.files import CHECKPOINT, METRICS_LOG, FileName, check_replaceable
from marr_pipeline.groups import shot_groups
from marr_pipeline.losses import add_loss
from marr_pipeline.plugins import read_plugin
from marr_pipeline.protocols import RecipeTerms, protocol_of
from marr_pipeline.systems import training_method
from marr_pipeline.workflows.phase_one import (
    Network,
    describe_pictures,
    method_prior,
    requested_dataset,
    threads_for,
)
from marr_pipeline.workflows.request import NOBODY, Listener, PhaseOneRequest


def add_losses(files: Iterable[FileName]) -> None:
    """Add the training losses that Python files have in a dict `LOSSES`.

    Raises:
        ConfigError: a file without one, or what cannot be added, see `add_loss`.
        PluginError: a file raised.
    """
    for file in files:
        for name, loss in read_plugin(Path(file), "LOSSES").items():
            add_loss(name, loss)


def train(
    request: PhaseOneRequest, *, output: FileName, ranks: Ranks = ALONE, listener: Listener = NOBODY
) -> TrainedBackbone:
    """Train a network and keep it in a checkpoint; a stopped training of the same goes on.

    A checkpoint of this very training is reused if it is finished; one of another is refused
    unless the request says `overwrite`.

    Args:
        request: images, network, recipe, and how it is run.
        output: the checkpoint; its course stands beside it, see `reports`.
        ranks: the processes that share every batch, each of which calls this.
        listener: told what is trained, how far it is and how it ended.

    Raises:
        ConfigError: a setting is out of range.
        DataError: the images are missing, broken or too few; the checkpoint is of another run.
        PipelineError: as `train_backbone`; what is kept has been said then.
    """
    listener = listener if ranks.is_first else NOBODY
    request = after_first_stage(request, Path(output), ranks=ranks, listener=listener)
    plan = plan_training(request, ranks=ranks, listener=listener)
    trained = train_or_resume(plan, Path(output), request, ranks=ranks, listener=listener)
    for line in describe_pictures(plan.dataset):
        listener.say(line)
    return trained


def plan_training(
    request: PhaseOneRequest,
    *,
    ranks: Ranks = ALONE,
    listener: Listener = NOBODY,
    is_dry: bool = False,
    dataset: LongTailedDataset | None = None,
) -> TrainingPlan:
    """Load the images and settle what will be trained; the first process reads before the others.

    Args:
        request: images, network and recipe.
        ranks: the processes that will train.
        listener: told what will be trained, in a few lines.
        is_dry: decode no image and leave published weights where they are; the plan then draws
            all weights.
        dataset: the images, where `requested_dataset` has already been asked for them.

    Raises:
        ConfigError: a setting is out of range.
        DataError: the images are missing, broken or too few.
    """
    device = resolve_device(request.device)
    has_common_norms = request.sync_bn and device.type == "cuda"  # torch has none for CPUs
    with ranks.in_turn():
        if dataset is None:
            dataset = requested_dataset(request, is_dry=is_dry, listener=listener)
        terms = protocol_of(dataset.name).recipes[request.recipe]
        backbone = request.backbone or dataset.defaults.backbone
        plan = TrainingPlan(
            dataset=dataset,
            backbone=backbone,
            recipe=plan_recipe(
                request.recipe,
                terms,
                num_samples=len(dataset.train),
                defaults=dataset.defaults,
                iterations=request.iterations,
                epochs=request.epochs,
                batch_size=request.batch_size,
                augmentation=request.augmentation,
                weight_decay=request.weight_decay,
                mixing=request.mixing,
                ema=request.ema,
            ),
            seed=request.seed,
            precision=resolve_precision(request.precision, device),
            method=training_method(request.method, request.method_options, of=dataset.name),
            initial=_initial_weights(request, terms, backbone, dataset, is_dry=is_dry),
            select_on=request.select_on,
            accumulate=request.accumulate,
            norm_groups=1 if has_common_norms else ranks.size,
        )
        check_images(plan.initial_model(), dataset.train.image_shape, name=backbone)
    for line in _describe_plan(plan, device, ranks):
        listener.say(line)
    return plan


def dry_record(plan: TrainingPlan, stored: TrainingRecord) -> TrainingRecord:
    """What a checkpoint of a dry run's plan would keep beside one that is there.

    A dry run draws all weights, where a run takes published ones or a first stage's.
    """
    asked = plan.record()
    if plan.initial is None and "initial" in stored.config:
        asked.config["initial"] = stored.config["initial"]
    return asked


def after_first_stage(
    request: PhaseOneRequest, output: Path, *, ranks: Ranks = ALONE, listener: Listener = NOBODY
) -> PhaseOneRequest:
    """The request, of a method that goes on from plain training with that training's checkpoint.

    Unless the request has one, it is trained first and kept under the name of `output` with the
    suffix .stage1.pt. What is wrong with the second stage is found before the first one. Arguments
    and errors as for `train`.
    """
    if request.checkpoint is not None or not training_method(request.method).has_first_stage:
        return request
    plan_training(request, ranks=ranks, is_dry=True)
    first = output.with_suffix(".stage1.pt")
    listener.say(f"{request.method}, stage 1: plain training into {first}")
    plain = replace(request, method="softmax", method_options=())
    train(plain, output=first, ranks=ranks, listener=listener)
    listener.say(f"{request.method}, stage 2")
    return replace(request, checkpoint=first, pretrained=None)


def train_or_resume(
    plan: TrainingPlan,
    checkpoint: Path,
    request: PhaseOneRequest,
    *,
    ranks: Ranks = ALONE,
    listener: Listener = NOBODY,
) -> TrainedBackbone:
    """Train; a checkpoint of this very plan is gone on with, and reused if it is finished.

    Args:
        plan: of the training.
        checkpoint: where it is kept.
        request: `overwrite` replaces any file, `resume=False` any checkpoint.
        ranks: the processes that train, each of which calls this.
        listener: told of it.

    Raises:
        PipelineError: as `train_backbone`; what is kept has been said then.
    """
    with ranks.in_turn():
        for path, product in ((checkpoint, CHECKPOINT), (metrics_path(checkpoint), METRICS_LOG)):
            check_replaceable(path, product, overwrite=request.overwrite)
        resume = request.resume and not (
            request.overwrite and checkpoint.exists() and _is_of_another(checkpoint, plan)
        )
    execution = Execution(channels_last=request.channels_last, compile=request.compile, ranks=ranks)
    try:
        with threads_for(plan.dataset):
            trained = train_backbone(
                plan,
                device=resolve_device(request.device),
                checkpoint=checkpoint,
                resume=resume,
                execution=execution,
                progress=listener.progress("training"),
            )
    except PipelineError as error:
        is_lost = isinstance(error, LostRankError)
        for kept in getattr(error, "__notes__", ()):
            listener.say(
                f"stopped, as another process of the run has ended: {kept}" if is_lost else kept
            )
        raise
    for line in _describe_training(trained, plan):
        listener.say(line)
    return trained


def planned_network(plan: TrainingPlan, model: Backbone, request: PhaseOneRequest) -> Network:
    """`model`, made or trained by the request's plan, ready for extraction."""
    prior, warnings = method_prior(plan.method, plan.dataset)
    return Network(
        model=model,
        dataset=plan.dataset,
        config=plan.record().config,
        prior_counts=prior,
        warnings=warnings,
        augmentation=plan.recipe.augmentation,
        seed=plan.seed,
        device=resolve_device(request.device),
    )


def _initial_weights(
    request: PhaseOneRequest,
    terms: RecipeTerms,
    backbone: str,
    dataset: LongTailedDataset,
    *,
    is_dry: bool,
) -> InitialWeights | None:
    num_classes, channels = dataset.num_classes, dataset.train.image_shape[0]
    is_recipes = request.pretrained is None and request.checkpoint is None and terms.pretrained
    if request.pretrained or is_recipes:
        if is_dry:
            torchvision_name(backbone)
            return None
        return pretrained_weights(backbone, num_classes=num_classes, in_channels=channels)
    if request.checkpoint is None:
        return None
    return weights_of_checkpoint(
        request.checkpoint,
        backbone,
        num_classes=num_classes,
        in_channels=channels,
        new_head=request.new_head,
        weights=request.weights,
    )


def _describe_plan(plan: TrainingPlan, device: torch.device, ranks: Ranks) -> list[str]:
    """The first lines of a run: what is trained, on what, how."""
    dataset, recipe, counts = plan.dataset, plan.recipe, plan.dataset.class_counts
    groups = [f"{name} {members.sum()}" for name, members in shot_groups(counts).items()]
    sizes = [f"{name} {len(split):,}" for name, split in dataset.splits.items()]
    start = ""
    if plan.initial is not None:
        start = f", from {plan.initial.record.get('weights', 'the checkpoint')}"
    pixels = ""
    if not dataset.own_normalisation:
        pixels = f"; normalised by {dataset.normalisation.text}"
    parts = "" if plan.accumulate == 1 else f" in {plan.accumulate} micro-batches"
    processes = "" if ranks.size == 1 else f", shared by {ranks.size} processes"
    if plan.norm_groups > 1:
        processes += ", each normalised by its own batch statistics"
    slow = []
    if plan.precision == torch.float16 and device.type == "cpu":
        slow = ["warning: float16 takes a CPU 5 to 10 times as long as float32"]
    return [
        f"{dataset.name}: {dataset.num_classes} classes of {counts.max():,} to {counts.min():,} "
        f"images ({', '.join(groups)}); {', '.join(sizes)}; data seed {dataset.data_seed}",
        f"{plan.backbone}{start} on {device} in {dtype_name(plan.precision)}; "
        f"recipe {recipe.name}: {recipe.iterations:,} x {recipe.batch_size}{parts}{processes}, "
        f"{recipe.augmentation}; seed {plan.seed}{pixels}",
        *_describe_method(plan),
        *slow,
        *dataset.notes,
        *(f"warning: {warning}" for warning in dataset.warnings),
        *(f"checkpoint: {note}" for note in (plan.initial.matched.notes if plan.initial else ())),
    ]


def _describe_method(plan: TrainingPlan) -> list[str]:
    """A line on what is not plain training, if anything is."""
    method, recipe = plan.method, plan.recipe
    options = ", ".join(f"{name} {value}" for name, value in method.options.items())
    parts = [
        *([] if method == LossMethod() else [f"{method.name}{f' ({options})' if options else ''}"]),
        *([] if recipe.mixing == "none" else [recipe.mixing]),
        *([] if recipe.ema is None else [f"weights averaged with decay {recipe.ema:g}"]),
    ]
    return [f"trained by {', '.join(parts)}"] if parts else []


def _describe_training(trained: TrainedBackbone, plan: TrainingPlan) -> list[str]:
    """The last lines of a run: how it went, and which weights were kept."""
    lines, kept = [], trained.selected
    if trained.loss is not None and trained.accuracy is not None:
        steps = plan.recipe.iterations - trained.resumed_from
        skipped = trained.skipped_steps
        lines.append(
            f"trained {steps:,} steps in {trained.seconds:.1f} s, "
            f"{trained.images_per_second:,.0f} img/s: loss {trained.loss:.3f}, "
            f"{100 * trained.accuracy:.1f} % of the last training views right"
            + (f"; {skipped:,} steps skipped, as float16 overflowed" if skipped else "")
        )
    if kept is not None:
        accuracy = 100 * kept.balanced_accuracy
        lines.append(
            f"kept: the weights of step {kept.step:,}, balanced accuracy {accuracy:.1f} on tune"
        )
    return lines


def _is_of_another(checkpoint: Path, plan: TrainingPlan) -> bool:
    """Whether the file is of another plan, or no checkpoint of ours at all."""
    try:
        return bool(record_differences(load_checkpoint(checkpoint).record, plan.record()))
    except DataError:
        return True
