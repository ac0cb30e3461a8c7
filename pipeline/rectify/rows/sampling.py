"""Which samples a step of SGD sees: every sample alike, or every class alike.

N samples, K classes, n_j samples of class j, batches of B. Instance-balanced, each epoch goes once
over the samples in a fresh order. Class-balanced (Kang et al. 2020, as the released code draws), an
endless run goes through the classes in a random order that is drawn anew each time round; each
class drawn gives the next `IMAGES_PER_CLASS` samples of its own random order, drawn anew each time
round as well. A batch is the run's next B samples, so with fewer than B / 4 classes a class comes
up several times in one, and one of two images gives both of them twice.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rows.weighted_rows import Reduction
from marr_pipeline.rectify.weighting import class_weights

Sampling = Literal["instance", "class-balanced"]

IMAGES_PER_CLASS = 4


def instance_batches(
    num_samples: int, *, batch_size: int, steps_per_epoch: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Samples (B,) int64, at most, of one step after another, without end."""
    while True:
        order = torch.randperm(num_samples, generator=generator)
        for step in range(steps_per_epoch):
            yield order[step * batch_size : (step + 1) * batch_size]


def class_balanced_batches(
    labels: Tensor, *, batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Samples (B,) int64 of one step after another, without end; `labels` (N,) int64."""
    members = {
        label: _cycle((labels == label).nonzero()[:, 0].tolist(), generator)
        for label in torch.bincount(labels).nonzero()[:, 0].tolist()
    }
    ahead: list[int] = []
    for label in _cycle(list(members), generator):
        ahead += islice(members[label], IMAGES_PER_CLASS)
        while len(ahead) >= batch_size:
            yield torch.tensor(ahead[:batch_size])
            ahead = ahead[batch_size:]


def expected_weights(
    inputs: FitInputs, *, gamma: float, reduction: Reduction, sampling: Sampling
) -> tuple[Tensor, Reduction]:
    """Class weights (K,) and reduction of the loss that a batch has in expectation.

    Where every class is drawn alike, a sample of class j is drawn in proportion to 1 / n_j, so its
    weight is U_j / n_j and the divisor the sum of these; with gamma 0 that is the weighted mean
    with gamma 1.
    """
    weights = class_weights(inputs.class_counts, gamma)
    if sampling == "instance":
        return weights, reduction
    drawn = torch.bincount(inputs.labels, minlength=inputs.num_classes)
    return weights / drawn.clamp(min=1), "weighted"


def _cycle(items: list[int], generator: torch.Generator) -> Iterator[int]:
    """Items in a random order that is drawn anew each time round, without end."""
    while True:
        order = torch.randperm(len(items), generator=generator).tolist()
        yield from (items[index] for index in order)
