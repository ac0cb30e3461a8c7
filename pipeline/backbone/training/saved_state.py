"""What a training keeps: its state in the checkpoint, averages of its weights, the best of them.

The state is taken over at the start and saved from time to time. Weights are scored by balanced
accuracy, the mean of the K classes' own, on clean images of the tune split at the end of every
epoch; of equals the first is kept. The test split is never looked at.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from marr_pipeline.backbone.checkpoints.checkpoint import (
    Checkpoint,
    Selected,
    load_checkpoint_of,
    provenance,
    write_checkpoint,
)
from marr_pipeline.backbone.extract import extract_split, plan_blocks
from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.training.plan import Execution, TrainingPlan
from marr_pipeline.backbone.training.step import TrainingStep
from marr_pipeline.data.normalise import Normalisation
from marr_pipeline.data.views import ImageSplit
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.errors import PipelineError, TrainingError
from marr_pipeline.reading import reading


class AveragedWeights:
    """mean <- d mean + (1 - d) weights after every step, d = min(decay, (1 + t) / (10 + t)).

    Running statistics of batch normalisation are averaged like weights; whole numbers are copied.

    Args:
        model: whose weights it starts from, where they are.
        decay: in (0, 1); 0.999 averages over about a thousand steps.
    """

    def __init__(self, model: Backbone, decay: float) -> None:
        self._model = model
        self._decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        """State dict of the averages."""

    def update(self, step: int) -> None:
        """Take in the weights that the model has after `step` steps."""
        pairs = [(self.state[name], value) for name, value in self._model.state_dict().items()]
        means = [mean for mean, _ in pairs if mean.is_floating_point()]
        values = [value for mean, value in pairs if mean.is_floating_point()]
        decay = min(self._decay, (1 + step) / (10 + step))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(means, values, step)
        for mean, value in pairs:
            if not mean.is_floating_point():
                mean.copy_(value)

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from averages that were kept."""
        for name, mean in self.state.items():
            mean.copy_(state[name])

    def model(self) -> Backbone:
        """A copy of the network with the averages for weights."""
        with torch.no_grad():
            averaged = copy.deepcopy(self._model)
            averaged.load_state_dict(self.state)
        return averaged


@dataclass(eq=False)
class SavedState:
    """What `path` holds of the training of `model` by `plan`.

    Attributes:
        path: of the checkpoint; rank 0 writes it, all ranks read it.
        plan: of the training.
        model: the network, without wrappers.
        training: its optimiser and scaler.
        device: where it is trained.
        execution: how, and by which processes.
        step: that is saved; None before the first one.
    """

    path: Path
    plan: TrainingPlan
    _: KW_ONLY
    model: Backbone
    training: TrainingStep
    device: torch.device
    execution: Execution
    step: int | None = field(default=None, init=False)

    @property
    def text(self) -> str:
        """What is saved, for the user."""
        if self.step is None:
            return f"no step is saved in {self.path} yet"
        return f"{self.path} holds step {self.step:,} of {self.plan.recipe.iterations:,}"

    @property
    def _next(self) -> str:
        """The same, and what the same command would do."""
        is_begun = self.step is not None
        does = "goes on from there" if is_begun else "begins anew"
        return f"{self.text}, the same command {does}"

    @contextmanager
    def told(self) -> Iterator[None]:
        """Within the block, what ends the training also says what is saved of it.

        Ctrl-C says it in its text, an error that does not say it yet in a note.
        """
        try:
            yield
        except TrainingError:
            raise
        except PipelineError as error:
            error.add_note(self._next)
            raise
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(self._next) from stop

    def take_over(
        self, averaged: AveragedWeights | None, *, resume: bool
    ) -> tuple[int, Selected | None]:
        """Put the saved state into the model, the optimiser and the averages.

        Args:
            averaged: where there are any.
            resume: false leaves the file alone until it is replaced.

        Returns:
            The step to go on at, and the best weights until then if they are chosen.

        Raises:
            DataError: the file is of another run, or no checkpoint.
            PipelineError: the processes do not see the same file.
        """
        selected = None
        with self.execution.ranks.in_turn():
            if resume and self.path.exists():
                selected = self._restore(averaged)
        first = self.step or 0
        if len(set(self.execution.ranks.gather(torch.tensor([first])).flatten().tolist())) > 1:
            raise PipelineError(
                f"{self.path}: the same file for every process expected, got several; put it on a "
                "file system that all of them share"
            )
        return first, selected

    def _restore(self, averaged: AveragedWeights | None) -> Selected | None:
        stored = load_checkpoint_of(self.path, self.plan.record())
        optimizer = self.training.optimizer
        with reading(self.path, "the state of this very training", "train anew by --no-resume"):
            if not 0 <= stored.step <= self.plan.recipe.iterations:
                raise ValueError(f"step {stored.step} of {self.plan.recipe.iterations}")
            if stored.selected is not None:  # tried now, since it is put in at the end
                self.model.load_state_dict(stored.selected.model)
            self.model.load_state_dict(stored.model)
            known = [_options(group) for group in optimizer.param_groups]
            optimizer.load_state_dict(stored.optimizer)
            if [_options(group) for group in optimizer.param_groups] != known:
                raise ValueError("an optimiser of other options")
            for parameter, state in optimizer.state.items():
                momentum = state.get("momentum_buffer")
                if momentum is not None and momentum.shape != parameter.shape:
                    raise ValueError(f"a momentum {tuple(momentum.shape)}")
            if stored.scaler is not None:
                self.training.scaler.load_state_dict(stored.scaler)
            if averaged is not None and stored.averaged is not None:
                averaged.load(stored.averaged)
        self.step = stored.step
        return stored.selected

    def save(self, step: int, selected: Selected | None, averaged: AveragedWeights | None) -> None:
        """Write the state after `step` steps; ranks other than 0 have nothing to do.

        Raises:
            TrainingError: weights are not finite; the file is left as it was.
            PipelineError: the file cannot be written; it is left as it was.
        """
        if not self.execution.ranks.is_first:
            return
        self._check_weights(step)
        state = Checkpoint(
            model=self.model.state_dict(),
            selected=selected,
            optimizer=self.training.optimizer.state_dict(),
            scaler=self.training.scaler.state_dict() or None,
            averaged=None if averaged is None else averaged.state,
            step=step,
            finished=step == self.plan.recipe.iterations,
            record=self.plan.record(),
            provenance={**provenance(self.device), **self.execution.record()},
        )
        write_checkpoint(self.path, state)
        self.step = step

    def _check_weights(self, step: int) -> None:
        """A finite loss can be followed by an infinite update; such a state is never saved."""
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            raise TrainingError(
                f"training, step {step - 1}: finite weights expected, got overflow; {self.text}; "
                "try a smaller learning rate or another seed"
            )


def better(best: Selected | None, model: Backbone, *, step: int, score: float) -> Selected:
    """A copy of the model's weights if their score is above that of `best`, else `best`."""
    if best is not None and score <= best.balanced_accuracy:
        return best
    copy = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
    return Selected(step, score, copy)


def balanced_accuracy(
    model: Backbone,
    split: ImageSplit,
    *,
    normalisation: Normalisation,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> float:
    """Mean over the classes present of the fraction of their images that are classified right.

    Args:
        model: on `device`; its mode is as before afterwards.
        split: at least one image.
        normalisation: the one the model is trained with.
        device: where the network runs.
        ranks: the processes that share the images; each has the same model and the same result.

    Raises:
        DataError: an image cannot be read; names it.
        LostRankError: another rank has ended.
    """
    labels = split.labels.numpy()
    images = np.bincount(labels)
    right = np.zeros_like(images)
    for block, logits, _ in extract_split(
        model,
        split,
        views=("clean",),
        augmentation="none",
        normalisation=normalisation,
        seed=0,
        device=device,
        blocks=ranks.share(plan_blocks(len(split), num_views=1)),
    ):
        own = labels[block.start : block.stop]
        right += np.bincount(own[logits.argmax(axis=1) == own], minlength=len(images))
    right = ranks.gather(torch.from_numpy(right)).sum(0).numpy()
    present = images > 0
    return float((right[present] / images[present]).mean())


def _options(group: Mapping[str, object]) -> dict[str, object]:
    """The options of a group of parameters that stay as they are."""
    return {key: group.get(key) for key in ("momentum", "weight_decay", "rate_factor")}
