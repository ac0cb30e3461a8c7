"""Phase one's training loop: cross-entropy, SGD with momentum, every draw a function of the seed.

The order and the augmentation of epoch e depend on (seed, e) alone and the learning rate on the
step alone, so a run that was stopped and resumed takes the very steps of one that was not.
Small images stay on the device as 8-bit pixels, large ones come from worker processes; nothing
waits for the device between two reports.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.backbone.checkpoint import (
    Checkpoint,
    load_checkpoint,
    provenance,
    write_checkpoint,
)
from pipeline.backbone.dropout import borrowed_generators, seed_dropout
from pipeline.backbone.interrupt import deferred_interrupt
from pipeline.backbone.model import Backbone
from pipeline.backbone.recipe import Recipe
from pipeline.backbone.record import TrainingPlan, TrainingRecord, record_differences
from pipeline.backbone.selection import Selected, balanced_accuracy, better
from pipeline.data import AUGMENTATIONS
from pipeline.data.normalise import normalise
from pipeline.data.views import RandomView, ViewPass
from pipeline.errors import DataError, TrainingError
from pipeline.files import check_writable
from pipeline.progress import Progress, silent

ORDER_STREAM = 3  # last word of the seed
REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class TrainedBackbone:
    """How training ended.

    Attributes:
        model: the trained network, on the device it was trained on.
        checkpoint: the file with its weights and record.
        resumed_from: the step that this call started at; the recipe's length if nothing was left.
        seconds: of this call, from the first step to the saved file.
        images_per_second: of this call; None if nothing was left to do.
        loss: mean training loss over about the last second; None if nothing was left to do.
        selected: the weights that were kept; None if they are the last.
    """

    model: Backbone
    checkpoint: Path
    resumed_from: int
    seconds: float
    images_per_second: float | None
    loss: float | None
    selected: Selected | None


def train_backbone(
    plan: TrainingPlan,
    *,
    device: torch.device,
    checkpoint: Path,
    resume: bool = True,
    checkpoint_seconds: float = 30.0,
    progress: Progress = silent,
) -> TrainedBackbone:
    """Train a fresh network by `plan` and keep it in the file `checkpoint`.

    Sampling is instance-balanced: every epoch is a permutation of all images. Ctrl-C saves a
    checkpoint at the end of its step and is raised again.

    Args:
        plan: dataset, backbone, recipe, seed and precision.
        device: where to train; images in memory must fit there as bytes.
        checkpoint: written atomically, every `checkpoint_seconds` and at the end.
        resume: go on from `checkpoint` if it exists; false starts again and replaces it.
        checkpoint_seconds: least time between two saved states.
        progress: told steps done, with loss, learning rate and images/s, about once a second.

    Raises:
        DataError: `checkpoint` is of another run, or no checkpoint.
        TrainingError: the loss is no longer finite; the last saved state is kept.
        PipelineError: `checkpoint` cannot be written.
    """
    check_writable(checkpoint)
    dataset, recipe, seed, record = plan.dataset, plan.recipe, plan.seed, plan.record()
    model = plan.initial_model()
    model.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate(0),
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    first, selected = 0, None
    if resume and checkpoint.exists():
        first, selected = _resume(model, optimizer, checkpoint, record)
    if first == recipe.iterations:
        return TrainedBackbone(model, checkpoint, first, 0.0, None, None, selected)

    def save(step: int) -> None:
        _check_weights(model, step)
        state = Checkpoint(
            model=model.state_dict(),
            selected=selected,
            optimizer=optimizer.state_dict(),
            step=step,
            finished=step == recipe.iterations,
            record=record,
            provenance=provenance(device),
        )
        write_checkpoint(checkpoint, state)

    batches = dataset.train.batches(
        plan_passes(recipe, num_samples=len(dataset.train), seed=seed, first_step=first),
        augmentation=AUGMENTATIONS[recipe.augmentation],
        device=device,
    )
    tune = dataset.tune if plan.select_on == "tune" else None
    losses: list[Tensor] = []  # of the steps since the last report, still on the device
    num_images = 0
    mean_loss = 0.0
    started = reported = saved = time.monotonic()
    with deferred_interrupt() as interrupted, borrowed_generators(device):
        for step, (views, labels) in enumerate(batches, start=first):
            seed_dropout(seed, step, device)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate(step)
            with torch.autocast(
                device.type, plan.precision, enabled=plan.precision != torch.float32
            ):
                logits, _ = model(normalise(views, dataset.normalisation))
            loss = cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()

            losses.append(loss.detach())
            num_images += len(labels)
            done, now = step + 1, time.monotonic()
            is_last = done == recipe.iterations
            if is_last or now >= min(reported + REPORT_SECONDS, saved + checkpoint_seconds):
                mean_loss = _read_losses(losses, done)
                losses.clear()
                reported = now
                rate = num_images / (time.monotonic() - started)
                note = (
                    f"loss {mean_loss:.3f}  lr {recipe.learning_rate(step):.4f}  {rate:.0f} img/s"
                )
                progress(done, recipe.iterations, note)
            if tune is not None and (is_last or done % recipe.steps_per_epoch == 0):
                score = balanced_accuracy(
                    model, tune, normalisation=dataset.normalisation, device=device
                )
                selected = better(selected, model, step=done, score=score)
            if is_last and selected is not None:
                model.load_state_dict(selected.model)
            stop = interrupted()
            if is_last or stop or now - saved >= checkpoint_seconds:
                save(done)
                saved = time.monotonic()
            if stop and not is_last:
                raise KeyboardInterrupt
    seconds = time.monotonic() - started
    rate = num_images / seconds
    return TrainedBackbone(model, checkpoint, first, seconds, rate, mean_loss, selected)


def _resume(
    model: Backbone, optimizer: torch.optim.SGD, path: Path, record: TrainingRecord
) -> tuple[int, Selected | None]:
    """Take over the stored state; the step to go on at, and the best weights until then."""
    stored = load_checkpoint(path)
    differences = record_differences(stored.record, record)
    if differences:
        raise DataError(
            f"{path}: a checkpoint of this very run expected, got one with {'; '.join(differences)}"
            "; give another -o, or --overwrite or --no-resume to train anew"
        )
    model.load_state_dict(stored.model)
    optimizer.load_state_dict(stored.optimizer)
    return stored.step, stored.selected


def plan_passes(
    recipe: Recipe, *, num_samples: int, seed: int, first_step: int = 0
) -> Iterator[ViewPass]:
    """The epochs of a run, each one permutation of the images and one view of each.

    Args:
        recipe: how many steps there are, in all and an epoch.
        num_samples: N, training images.
        seed: at least 0; with the number of the epoch it decides the permutation and the views.
        first_step: of a resumed run; its first epoch, as the last one, has only the steps left.
    """
    per_epoch = recipe.steps_per_epoch
    for number in range(first_step // per_epoch, -(-recipe.iterations // per_epoch)):
        begin = max(first_step - number * per_epoch, 0)
        end = min(recipe.iterations - number * per_epoch, per_epoch)
        order = np.random.default_rng([seed, number, ORDER_STREAM]).permutation(num_samples)
        yield ViewPass(
            rows=torch.from_numpy(order),
            bounds=tuple(_bound(batch, num_samples, recipe) for batch in range(begin, end + 1)),
            view=RandomView(purpose="training", seed=seed, number=number),
        )


def _bound(batch: int, num_samples: int, recipe: Recipe) -> int:
    """Where batch `batch` of an epoch begins in its permutation."""
    if recipe.drops_remainder:
        return batch * recipe.batch_size
    return batch * num_samples // recipe.steps_per_epoch


def _read_losses(losses: list[Tensor], done: int) -> float:
    """Mean of the losses of the last steps before `done`; waits for the device."""
    values = torch.stack(losses).cpu()
    broken = (~values.isfinite()).nonzero()
    if len(broken):
        step = done - len(losses) + int(broken[0])
        raise TrainingError(
            f"training, step {step}: a finite loss expected, got {values[broken[0]].item()}; "
            "the last saved checkpoint is intact, try a smaller learning rate or another seed"
        )
    return float(values.mean())


def _check_weights(model: Backbone, step: int) -> None:
    """A finite loss can be followed by an infinite update; such a state is never saved."""
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise TrainingError(
            f"training, step {step - 1}: finite weights expected, got overflow; "
            "the last saved checkpoint is intact, try a smaller learning rate or another seed"
        )
