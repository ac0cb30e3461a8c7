"""How far two rectified classifiers differ on the same samples."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from pipeline.rectify.rectifier import Rectifier

BLOCK_LOGITS = 2**21


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Between two arrays, entry by entry.

    Attributes:
        largest: absolute value.
        rms: root of the mean square.
    """

    largest: float
    rms: float

    @classmethod
    def between(cls, first: Tensor, second: Tensor) -> "Difference":
        """Of two tensors of one shape."""
        gap = first.double() - second.double()
        return cls(largest=float(gap.abs().max()), rms=float(gap.square().mean().sqrt()))

    def document(self) -> dict[str, float]:
        """The difference as JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class RectifiedRows:
    """A rectifier and what it is applied to.

    Attributes:
        rectifier: K scales and shifts.
        logits: (R, K).
    """

    rectifier: Rectifier
    logits: Tensor

    def probabilities(self) -> Iterator[Tensor]:
        """(B, K) float64, block after block of `BLOCK_LOGITS` logits at most."""
        num_rows = max(1, BLOCK_LOGITS // self.logits.shape[1])
        for start in range(0, len(self.logits), num_rows):
            block = self.logits[start : start + num_rows].cpu()
            yield torch.softmax(self.rectifier.apply(block), 1)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two sets of rectified probabilities of the same R samples.

    Attributes:
        probabilities: how far they differ.
        changed: samples whose most probable class differs.
        num_rows: R.
        accuracies: share of samples that each has right.
    """

    probabilities: Difference
    changed: int
    num_rows: int
    accuracies: tuple[float, float]

    @property
    def accuracy_difference(self) -> float:
        """The second's accuracy less the first's."""
        return self.accuracies[1] - self.accuracies[0]


def compare_rectified(first: RectifiedRows, second: RectifiedRows, labels: Tensor) -> Agreement:
    """Compare on samples with these labels (R,) int64."""
    num_rows, num_classes = first.logits.shape
    largest, squares, changed, right, start = 0.0, 0.0, 0, [0, 0], 0
    for one, other in zip(first.probabilities(), second.probabilities(), strict=True):
        gap = one - other
        largest = max(largest, float(gap.abs().max()))
        squares += float(gap.square().sum())
        predicted = one.argmax(1), other.argmax(1)
        changed += int((predicted[0] != predicted[1]).sum())
        own = labels[start : start + len(one)]
        start += len(one)
        for index, classes in enumerate(predicted):
            right[index] += int((classes == own).sum())
    return Agreement(
        probabilities=Difference(largest=largest, rms=(squares / (num_rows * num_classes)) ** 0.5),
        changed=changed,
        num_rows=num_rows,
        accuracies=(right[0] / num_rows, right[1] / num_rows),
    )
