"""Phase one's training loop: SGD on a method's loss, every draw a function of the seed.

The order and the augmentation of epoch e depend on (seed, e) alone and the learning rate on the
step alone, so a run that was stopped and resumed takes the very steps of one that was not, and
several processes share the very batches of one. Small images stay on the device as 8-bit pixels,
large ones come from worker processes; nothing waits for the device between two reports.
"""

from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from marr_pipeline.backbone.checkpoints.checkpoint import Selected
from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.training.batches import (
    StepBatches,
    batch_size_of,
    images_seen,
    plan_epochs,
    share_epochs,
)
from marr_pipeline.backbone.training.plan import Execution, TrainingPlan, check_batches
from marr_pipeline.backbone.training.reports import Reports, metrics_path, open_metrics
from marr_pipeline.backbone.training.saved_state import (
    AveragedWeights,
    SavedState,
    balanced_accuracy,
    better,
)
from marr_pipeline.backbone.training.step import (
    TrainingStep,
    borrowed_generators,
    check_compiler,
    check_norms,
    seed_dropout,
    synchronised_norms,
)
from marr_pipeline.data import AUGMENTATIONS
from marr_pipeline.distributed import LostRankError, Ranks, deferred_interrupt
from marr_pipeline.errors import ConfigError
from marr_pipeline.files import check_writable
from marr_pipeline.progress import Progress, silent

DEFAULT_EXECUTION = Execution()
NO_IMAGES = "torchrun: images for every process expected, got one without; see its own message"


@dataclass(frozen=True, kw_only=True)
class TrainedBackbone:
    """How training ended.

    Attributes:
        model: the trained network, on the device it was trained on.
        checkpoint: the file with its weights and record.
        metrics: the file with its course.
        iterations: steps of the whole training.
        resumed_from: the step that this call started at; the recipe's length if nothing was left.
        seconds: of this call, from the first step to the saved file.
        images_per_second: of this call; None if nothing was left to do.
        loss: mean training loss over about the last second; None if nothing was left to do.
        accuracy: fraction of the augmented training images of that time that were classified
            right; None if nothing was left to do.
        skipped_steps: of this call, whose gradients overflowed; 0 but in float16.
        selected: the weights that were kept; None if they are the last.
    """

    model: Backbone
    checkpoint: Path
    metrics: Path
    iterations: int
    resumed_from: int
    seconds: float = 0.0
    images_per_second: float | None = None
    loss: float | None = None
    accuracy: float | None = None
    skipped_steps: int = 0
    selected: Selected | None = None

    def record(self) -> dict[str, object]:
        """Every field but the network and the weights themselves."""
        record = {each.name: getattr(self, each.name) for each in fields(self)}
        del record["model"]
        kept = self.selected
        chosen = kept and {"step": kept.step, "balanced_accuracy": kept.balanced_accuracy}
        return {**record, "selected": chosen}


def train_backbone(
    plan: TrainingPlan,
    *,
    device: torch.device,
    checkpoint: Path,
    resume: bool = True,
    checkpoint_seconds: float = 30.0,
    execution: Execution = DEFAULT_EXECUTION,
    progress: Progress = silent,
) -> TrainedBackbone:
    """Train a fresh network by `plan` and keep it in the file `checkpoint`.

    What an epoch takes of the images is the method's; plain training permutes them. Ctrl-C saves a
    checkpoint at the end of its step and is raised again; so is the error of an image that cannot
    be read. A signal or such an error in one process stops all of them after the same step.

    Args:
        plan: dataset, backbone, recipe, seed and precision.
        device: where to train; images in memory must fit there as bytes.
        checkpoint: written atomically, every `checkpoint_seconds` and at the end; its course
            stands beside it, see `reports`.
        resume: go on from `checkpoint` if it exists; false starts again and replaces it.
        checkpoint_seconds: least time between two saved states.
        execution: memory layout, compilation, and the processes that share every batch; each of
            them calls this with the same arguments.
        progress: told steps done, with loss, learning rate and images/s, about once a second.

    Raises:
        ConfigError: a batch that is too small to share, or no compiler.
        DataError: `checkpoint` is of another run, or no checkpoint; an image cannot be read.
        TrainingError: the loss is no longer finite; the last saved state is kept.
        LostRankError: another process of the run has ended; the last saved state is kept.
        PipelineError: `checkpoint` cannot be written, or another process trains into it.
    """
    recipe, ranks = plan.recipe, execution.ranks
    model = plan.initial_model()
    with ranks.in_turn():
        check_writable(checkpoint)
        _check_execution(plan, execution, model, device)
    model.to(device).to(memory_format=execution.memory_format).train()
    norms = nullcontext() if plan.norm_groups == ranks.size else synchronised_norms(model)
    log = open_metrics(checkpoint) if ranks.is_first else nullcontext()
    with norms, log as metrics:
        take_step = TrainingStep(model, plan, device=device, execution=execution)
        saved = SavedState(
            checkpoint, plan, model=model, training=take_step, device=device, execution=execution
        )
        averaged = None if recipe.ema is None else AveragedWeights(model, recipe.ema)
        first, selected = saved.take_over(averaged, resume=resume)
        trained = TrainedBackbone(
            model=model,
            checkpoint=checkpoint,
            metrics=metrics_path(checkpoint),
            iterations=recipe.iterations,
            resumed_from=first,
            selected=selected,
        )
        if first == recipe.iterations:
            return trained
        if metrics is not None:
            metrics.go_on_from(first)
        if first == 0:
            plan.method.prepare(model, plan.dataset, device=device)
            ranks.copy_first(model.parameters())
            if averaged is not None:
                averaged.load(model.state_dict())
        if plan.method.counts_seen:
            take_step.seen += images_seen(
                recipe,
                labels=plan.dataset.train.labels,
                seed=plan.seed,
                step=first,
                streams=plan.method.streams,
                micro_batches=plan.accumulate,
                ranks=ranks,
            )
        batches = _step_batches(plan, first, device=device, ranks=ranks)
        reports = Reports(
            recipe=recipe,
            ranks=ranks,
            num_skipped=take_step.num_skipped,
            metrics=metrics,
            progress=progress,
            save_seconds=checkpoint_seconds,
        )
        with saved.told(), deferred_interrupt() as interrupted, borrowed_generators(device):
            for step in range(first, recipe.iterations):
                seed_dropout(plan.seed, step, device, rank=ranks.rank)
                size = batch_size_of(recipe, step, num_samples=len(plan.dataset.train))
                rate = recipe.learning_rate(step)
                reading = take_step(batches.take(), step=step, batch_size=size, learning_rate=rate)
                reports.add(reading, num_images=size)
                batches.fetch()

                done = step + 1
                if averaged is not None:
                    averaged.update(done)
                is_last = done == recipe.iterations
                if plan.select_on == "tune" and (is_last or done % recipe.steps_per_epoch == 0):
                    scored = model if averaged is None else averaged.model()
                    score = _score(scored, plan, device=device, execution=execution)
                    reports.scored(done, score=score)
                    selected = better(selected, scored, step=done, score=score)
                is_wanted = reports.is_due() or interrupted() or batches.error is not None
                if not (is_last or ranks.any(is_wanted)):
                    continue

                means = reports.report(done, kept=saved.text)
                if is_last and selected is not None:
                    model.load_state_dict(selected.model)
                elif is_last and averaged is not None:
                    model.load_state_dict(averaged.state)
                is_broken = ranks.any(batches.error is not None)
                is_stopped = ranks.any(interrupted())
                ends = is_stopped or is_broken or is_last
                if ends or ranks.any(reports.save_is_due()):
                    saved.save(done, selected, averaged)
                    reports.saved()
                if ends:
                    ranks.meet()  # the first has saved
                if is_broken and not is_stopped:
                    raise batches.error or LostRankError(NO_IMAGES)
                if ends and not is_last:
                    raise KeyboardInterrupt
        ranks.copy_first(model.state_dict().values())
        seconds = reports.seconds
    return replace(
        trained,
        seconds=seconds,
        images_per_second=reports.num_images / seconds,
        loss=means.loss,
        accuracy=means.accuracy,
        skipped_steps=means.skipped_steps,
        selected=selected,
    )


def _check_execution(
    plan: TrainingPlan, execution: Execution, model: Backbone, device: torch.device
) -> None:
    """Refuse now what would fail at the first step."""
    ranks = execution.ranks
    check_batches(
        plan.recipe,
        num_samples=len(plan.dataset.train),
        micro_batches=plan.accumulate,
        ranks=ranks,
    )
    if plan.norm_groups != ranks.size:
        if plan.norm_groups != 1 or device.type == "cpu":
            raise ConfigError(
                f"batch normalisation: {ranks.size} groups expected for {ranks.size} processes, "
                f"got {plan.norm_groups}; give --no-sync-bn"
            )
        check_norms(model)
    if execution.compile:
        check_compiler(device)


def _step_batches(
    plan: TrainingPlan, first: int, *, device: torch.device, ranks: Ranks
) -> StepBatches:
    images, each = plan.dataset.train, plan.accumulate
    epochs = plan_epochs(
        plan.recipe,
        labels=images.labels,
        seed=plan.seed,
        first_step=first,
        streams=plan.method.streams,
    )
    micro_batches = images.batches(
        share_epochs(epochs, micro_batches=each, ranks=ranks),
        augmentation=AUGMENTATIONS[plan.recipe.augmentation],
        device=device,
    )
    return StepBatches(micro_batches, each=each)


def _score(
    model: Backbone, plan: TrainingPlan, *, device: torch.device, execution: Execution
) -> float:
    """Balanced accuracy on the tune split, the same on every rank."""
    assert plan.dataset.tune is not None
    execution.ranks.copy_first(model.buffers())  # each has its own where they are not shared
    score = balanced_accuracy(
        model,
        plan.dataset.tune,
        normalisation=plan.dataset.normalisation,
        device=device,
        ranks=execution.ranks,
    )
    model.to(memory_format=execution.memory_format)
    return score
