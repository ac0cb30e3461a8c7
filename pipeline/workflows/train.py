"""Training as the commands run it: begun, gone on with or reused, and told of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint, record_differences
from marr_pipeline.backbone.training.plan import Execution, TrainingPlan
from marr_pipeline.backbone.training.train import TrainedBackbone, train_backbone
from marr_pipeline.device import resolve_device
from marr_pipeline.distributed import ALONE, LostRankError, Ranks
from marr_pipeline.errors import DataError, PipelineError
from marr_pipeline.progress import ProgressLine, silent
from marr_pipeline.workflows.phase_one import PhaseOneRequest, describe_plan, plan_training


def settle_plan(
    request: PhaseOneRequest, *, ranks: Ranks, say: Callable[[str], None]
) -> TrainingPlan:
    """What will be trained, said in a few lines; the first process reads the images before others.

    Raises:
        ConfigError: a setting is out of range.
        DataError: the images are missing, broken or too few.
    """
    reading = ProgressLine("reading images") if ranks.is_first else silent
    with ranks.in_turn():
        plan = plan_training(request, ranks=ranks, progress=reading)
    for line in describe_plan(plan, resolve_device(request.device), ranks=ranks):
        say(line)
    return plan


def requested_execution(request: PhaseOneRequest, *, ranks: Ranks = ALONE) -> Execution:
    """How the request wants the training to run, by these processes."""
    return Execution(channels_last=request.channels_last, compile=request.compile, ranks=ranks)


def train_or_resume(
    plan: TrainingPlan,
    checkpoint: Path,
    request: PhaseOneRequest,
    *,
    ranks: Ranks,
    say: Callable[[str], None],
) -> TrainedBackbone:
    """Train; a checkpoint of this very plan is gone on with, and reused if it is finished.

    Args:
        plan: of the training.
        checkpoint: where it is kept.
        request: `overwrite` replaces a checkpoint of another plan, `resume=False` any.
        ranks: the processes that train, each of which calls this.
        say: takes the lines for the user.

    Raises:
        PipelineError: as `train_backbone`; what is kept has been said then.
    """
    with ranks.in_turn():
        resume = request.resume and not (
            request.overwrite and checkpoint.exists() and _is_of_another(checkpoint, plan)
        )
    try:
        trained = train_backbone(
            plan,
            device=resolve_device(request.device),
            checkpoint=checkpoint,
            resume=resume,
            execution=requested_execution(request, ranks=ranks),
            progress=ProgressLine("training") if ranks.is_first else silent,
        )
    except PipelineError as error:
        is_lost = isinstance(error, LostRankError)
        for kept in getattr(error, "__notes__", ()):
            say(f"stopped, as another process of the run has ended: {kept}" if is_lost else kept)
        raise
    for line in describe_training(trained, plan):
        say(line)
    return trained


def describe_training(trained: TrainedBackbone, plan: TrainingPlan) -> list[str]:
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


def training_record(trained: TrainedBackbone, plan: TrainingPlan) -> dict[str, Any]:
    """What `train --json` prints."""
    kept = trained.selected
    return {
        "checkpoint": trained.checkpoint,
        "metrics": trained.metrics,
        "iterations": plan.recipe.iterations,
        "resumed_from": trained.resumed_from,
        "seconds": trained.seconds,
        "images_per_second": trained.images_per_second,
        "loss": trained.loss,
        "accuracy": trained.accuracy,
        "skipped_steps": trained.skipped_steps,
        "selected": kept and {"step": kept.step, "balanced_accuracy": kept.balanced_accuracy},
    }


def _is_of_another(checkpoint: Path, plan: TrainingPlan) -> bool:
    """Whether the file is of another plan, or no checkpoint of ours at all."""
    try:
        return bool(record_differences(load_checkpoint(checkpoint).record, plan.record()))
    except DataError:
        return True
