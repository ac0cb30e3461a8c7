"""The training loop, beside bare steps of the same network on one batch in memory.

    python benchmarks/training.py
    python benchmarks/training.py --dataset cifar10-lt --data-root data/cifar10 --batch-size 128

bare      forward, loss, backward and SGD on one normalised batch, learning rate 0
training  as `pipeline train`: from a fresh network to its checkpoint, all views drawn anew
batches   its views alone, drawn, augmented and on the device
forward   of the bare steps, with the loss

`bare / training` is images a second of the one over the other; the bar is 0.9. `operations` is how
many operations of torch one step runs that make a tensor (not counted with --compile): on a GPU
a step of a small network takes as long as the host needs to launch them.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from harness import as_written, output_option, ratio, repeat_option, report, side_by_side
from images import request_options
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from marr_pipeline.backbone.training.batches import plan_epochs, share_epochs
from marr_pipeline.backbone.training.plan import Execution, TrainingPlan
from marr_pipeline.backbone.training.step import TrainingStep
from marr_pipeline.data import AUGMENTATIONS
from marr_pipeline.data.normalise import normalise
from marr_pipeline.device import resolve_device
from marr_pipeline.distributed import ALONE
from marr_pipeline.workflows.phase_one import threads_for
from marr_pipeline.workflows.request import PhaseOneRequest
from marr_pipeline.workflows.train import plan_training, train_or_resume


class Operations(TorchDispatchMode):
    """Within it operations are counted, those that look at a tensor otherwise left out."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.number += not function.is_view
        return function(*args, **(kwargs or {}))


def operations(work: Callable[[], object]) -> int:
    """How many `work` runs, the second time."""
    work()
    with Operations() as counted:
        work()
    return counted.number


class BareStep:
    """A step of SGD as a few lines of torch make it, on one batch.

    Its learning rate is 0: the arithmetic is that of any other rate, and the same in every step.

    Args:
        plan: network and precision.
        request: memory layout and compilation.
        views: (B, C, H, W) uint8, on the device.
        labels: (B,) int64, on the device.
    """

    def __init__(
        self, plan: TrainingPlan, request: PhaseOneRequest, views: Tensor, labels: Tensor
    ) -> None:
        memory_format = Execution(channels_last=request.channels_last).memory_format
        images = normalise(views, plan.dataset.normalisation)
        self._images = images.contiguous(memory_format=memory_format)
        self._labels, self._precision = labels, plan.precision
        model = plan.initial_model().to(views.device).to(memory_format=memory_format).train()
        self._network: Callable[[Tensor], tuple[Tensor, Tensor]] = (
            torch.compile(model) if request.compile else model
        )
        self._optimizer = torch.optim.SGD(
            model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4, fused=True
        )

    def forward(self) -> Tensor:
        """The loss, a scalar with its graph."""
        is_mixed = self._precision != torch.float32
        with torch.autocast(self._images.device.type, self._precision, enabled=is_mixed):
            logits, _ = self._network(self._images)
        return cross_entropy(logits.float(), self._labels)

    def __call__(self) -> None:
        """The whole step."""
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.forward())
        self._optimizer.step()


@click.command(help=as_written(__doc__))
@request_options(dataset="drawn", steps=50)
@repeat_option
@output_option
def main(request: PhaseOneRequest, repeat: int, output: Path | None) -> None:
    """Time them in turn."""
    plan, device = plan_training(request), resolve_device(request.device)
    recipe, train = plan.recipe, plan.dataset.train

    def batches() -> deque[tuple[Tensor, Tensor]]:
        epochs = plan_epochs(recipe, labels=train.labels, seed=plan.seed)
        passes = share_epochs(epochs, micro_batches=1, ranks=ALONE)
        augmentation = AUGMENTATIONS[recipe.augmentation]
        return deque(train.batches(passes, augmentation=augmentation, device=device), maxlen=1)

    batch = batches()[0]
    step = BareStep(plan, request, *batch)

    def times(work: Callable[[], object]) -> None:
        for _ in range(recipe.iterations):
            work()

    with TemporaryDirectory() as folder, threads_for(plan.dataset):
        checkpoint = Path(folder) / "network.pt"
        measured = side_by_side(
            {
                "bare": lambda: times(step),
                "training": lambda: train_or_resume(plan, checkpoint, request),
                "batches": batches,
                "forward": lambda: times(step.forward),
            },
            repeat=repeat,
            title=f"{recipe.iterations} steps of {recipe.batch_size} by {plan.backbone}",
        )
        report(
            "training",
            measured,
            ratios={
                f"{part} / training": ratio(measured[part], measured["training"])
                for part in ("bare", "batches", "forward")
            },
            output=output,
            images={"dataset": plan.dataset.name, "shape": list(train.image_shape)},
            backbone=plan.backbone,
            steps={"number": recipe.iterations, "batch_size": recipe.batch_size},
            augmentation=recipe.augmentation,
            precision=str(plan.precision),
            operations=None if request.compile else _operations(plan, request, step, batch),
            images_per_second={
                name: recipe.iterations * recipe.batch_size / measured[name].median
                for name in ("bare", "training")
            },
        )


def _operations(
    plan: TrainingPlan, request: PhaseOneRequest, bare: BareStep, batch: tuple[Tensor, Tensor]
) -> dict[str, int]:
    """Of a bare step and of one of `pipeline train` on the same batch."""
    views, labels = batch
    execution = Execution(channels_last=request.channels_last)
    model = plan.initial_model().to(views.device).to(memory_format=execution.memory_format).train()
    step = TrainingStep(model, plan, device=views.device, execution=execution)
    whole = partial(step, [batch], step=0, batch_size=len(labels), learning_rate=0.0)
    return {"bare": operations(bare), "training": operations(whole)}


if __name__ == "__main__":
    main()
