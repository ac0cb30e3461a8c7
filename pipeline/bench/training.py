"""Training beside the least that it could take: the same steps on a batch that is already there.

bare           forward, loss, backward and update, on one normalised batch in the device's memory
ours           the training loop as it is used: from a fresh network to its checkpoint
batches        its batches alone: drawn, augmented and on the device, and nothing done with them
normalisation  bytes of a batch to the network's input
forward        of a bare step, with the loss
backward       of a bare step
optimizer      update of a bare step

The parts of a step tell where the time of ours goes. Images from worker processes are made while
the network computes, so there `batches` may take as long as all the rest and cost nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.bench.rates import Rate, RateRatio, Work, measure_rates
from pipeline.bench.settings import TrainSettings
from pipeline.bench.timing import Stopwatch

Network = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (B, C, H, W) to logits (B, K) and features (B, D)."""

PARTS = ("batches", "normalisation", "forward", "backward", "optimizer")


class BareStep:
    """A step of SGD as a few lines of torch make it, on one batch.

    Its learning rate is 0: the arithmetic is that of any other rate, and the same in every step.

    Args:
        model: in training mode, on the device; gives logits (B, K) and features.
        images: (B, C, H, W) float32, normalised, on the device.
        labels: (B,) int64, on the device.
        precision: of forward and backward; float16 with a loss scaler.
        is_compiled: the network is translated by torch.compile first.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        precision: torch.dtype,
        is_compiled: bool = False,
    ) -> None:
        self._network: Network = torch.compile(model) if is_compiled else model
        self.images, self.labels = images, labels
        self._precision = precision
        self._optimizer = torch.optim.SGD(
            model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4, fused=True
        )
        self._scaler = torch.amp.GradScaler(images.device.type, enabled=precision == torch.float16)

    def forward(self) -> Tensor:
        """The loss, a scalar with its graph."""
        is_mixed = self._precision != torch.float32
        with torch.autocast(self.images.device.type, self._precision, enabled=is_mixed):
            logits, _ = self._network(self.images)
        return cross_entropy(logits.float(), self.labels)

    def backward(self, loss: Tensor) -> None:
        """Gradients of all weights."""
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(loss))

    def update(self) -> None:
        """The optimiser's share."""
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def run(self) -> None:
        """The whole step."""
        self.backward(self.forward())
        self.update()

    def work(self, part: Callable[[], object], *, num_steps: int) -> Work:
        """What is done once a step, on the step's images, as work of `num_steps`."""
        amount = num_steps * len(self.labels)
        return Work.of(part, amount=amount, unit="images", times=num_steps)


@dataclass(frozen=True, kw_only=True)
class TrainingLoop:
    """The loop to be measured, and two parts of it that can be had alone.

    Attributes:
        train: all steps of a turn, from a fresh network to its checkpoint.
        draw: the batches of `train`, and nothing done with them.
        normalise: one batch's bytes to network input.
        num_images: that `train` takes, and `draw`.
    """

    train: Callable[[], object]
    draw: Callable[[], object]
    normalise: Callable[[], object]
    num_images: int


@dataclass(frozen=True, kw_only=True)
class TrainingBench:
    """Images a second.

    Attributes:
        bare: of bare steps.
        ours: of the training loop.
        parts: of `PARTS`, each alone.
    """

    bare: Rate
    ours: Rate
    parts: dict[str, Rate]

    @property
    def ratio(self) -> RateRatio:
        """Ours over bare; 1 if all but the step itself cost nothing."""
        return RateRatio.of(self.ours, self.bare)

    @property
    def shares(self) -> dict[str, float]:
        """Seconds an image of each part over those of ours, by the median runs."""
        return {
            name: self.ours.median_per_second / part.median_per_second
            for name, part in self.parts.items()
        }

    @property
    def rest(self) -> float:
        """Share of all else: schedule, reports, checkpoint; below 0 where parts overlap."""
        return 1.0 - sum(self.shares.values())

    def document(self) -> dict[str, Any]:
        """The rates, their ratio and the shares as JSON."""
        return {
            "bare": self.bare.document(),
            "ours": self.ours.document(),
            "ours_to_bare": self.ratio.document(),
            "parts": {name: part.document() for name, part in self.parts.items()},
            "shares": {**self.shares, "rest": self.rest},
        }


def measure_training(
    step: BareStep, loop: TrainingLoop, settings: TrainSettings, *, device: torch.device
) -> TrainingBench:
    """Time the loop, the bare step and their parts in turn."""
    works = {
        "bare": step.work(step.run, num_steps=settings.steps),
        "ours": Work.of(loop.train, amount=loop.num_images, unit="images"),
        **part_works(step, loop, num_steps=settings.part_steps),
    }
    rates = measure_rates(works, repeat=settings.repeat, device=device)
    return TrainingBench(
        bare=rates["bare"], ours=rates["ours"], parts={name: rates[name] for name in PARTS}
    )


def part_works(step: BareStep, loop: TrainingLoop, *, num_steps: int) -> dict[str, Work]:
    """What `PARTS` name; a part of a step is done `num_steps` times."""

    def backward(watch: Stopwatch) -> None:
        for _ in range(num_steps):
            step.backward(watch.paused(step.forward))

    def update(watch: Stopwatch) -> None:
        watch.paused(lambda: step.backward(step.forward()))
        for _ in range(num_steps):
            step.update()

    amount = num_steps * len(step.labels)
    return {
        "batches": Work.of(loop.draw, amount=loop.num_images, unit="images"),
        "normalisation": step.work(loop.normalise, num_steps=num_steps),
        "forward": step.work(step.forward, num_steps=num_steps),
        "backward": Work(amount=amount, unit="images", run=backward),
        "optimizer": Work(amount=amount, unit="images", run=update),
    }
