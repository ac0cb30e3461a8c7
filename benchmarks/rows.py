"""Long-tailed logits out of nothing but a seed, as a trained classifier would give them.

N samples, K classes, D features. Class means mu_k ~ N(0, I_D) spread^2, features
h = mu_y + N(0, I_D), and a head that is Bayes' rule under the training prior,
z_k = mu_k . h - |mu_k|^2 / 2 + log prior_k, but for a gain that shrinks from head to tail as the
weight norms of long-tailed training do (paper, section 3). So logits carry label and prior,
overlap, and rectification has both a scale and a shift to repair.

A network's own features are not round: with `decay` a the j-th, j = 1, ..., D, is divided by
j^(a/2), and the head is made for that, which leaves the logits as they are.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from statistics import NormalDist

import click
import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from marr_pipeline.rectify.inputs import FitInputs

CONFUSIONS = 2.5
"""Wrong classes nearer than the own one, on average: 65 to 78 % right at K from 7 to 8142."""
MAX_CONFUSION = 0.15
"""Of one class with another, where K is small."""
TAIL_GAIN = 0.7
"""Gain of the rarest class; the most frequent one's is 1."""
BLOCK_LOGITS = 2**22


@dataclass(frozen=True, kw_only=True)
class SyntheticRows:
    """A set of rows, described; every block of it is the same however many are asked for.

    Attributes:
        num_samples: N, at least K.
        num_classes: K, at least 2.
        imbalance_ratio: largest over smallest class count, of an exponential profile.
        num_features: D.
        seed: of every draw.
        decay: a of the module's docstring; 1 is about a pretrained network's.
    """

    num_samples: int
    num_classes: int
    imbalance_ratio: float = 100.0
    num_features: int = 64
    seed: int = 0
    decay: float = 0.0

    @cached_property
    def class_counts(self) -> Tensor:
        """(K,) int64, falling, at least 1 each, N in all."""
        rank = torch.arange(self.num_classes, dtype=torch.float64) / (self.num_classes - 1)
        profile = self.imbalance_ratio**-rank
        spare = (self.num_samples - self.num_classes) * profile / profile.sum()
        counts = 1 + spare.long()
        # What rounding down left over goes to the head, which keeps the profile falling.
        counts[: self.num_samples - int(counts.sum())] += 1
        return counts

    @cached_property
    def labels(self) -> Tensor:
        """(N,) int64 in a random order."""
        ordered = torch.arange(self.num_classes).repeat_interleave(self.class_counts)
        return ordered[torch.randperm(self.num_samples, generator=self._generator(1))]

    @cached_property
    def weight(self) -> Tensor:
        """(K, D) float32, the head's."""
        return self._gain[:, None] * self._means / self._size

    @cached_property
    def bias(self) -> Tensor:
        """(K,) float32, the head's."""
        log_prior = torch.log(self.class_counts / self.num_samples)
        return self._gain * (log_prior - 0.5 * self._means.square().sum(1))

    def blocks(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, their features (B, D) and logits (B, K), float32, in order."""
        generator = self._generator(2)
        weight = self.weight.T
        num_rows = max(1, BLOCK_LOGITS // self.num_classes)
        for start in range(0, self.num_samples, num_rows):
            rows = slice(start, min(start + num_rows, self.num_samples))
            own = self._means[self.labels[rows]]
            features = (own + torch.randn(own.shape, generator=generator)) * self._size
            yield rows, features, torch.addmm(self.bias, features, weight)

    def features_alone(self, mapped: Path | None = None) -> FitInputs:
        """What a fit of a whole head takes; float16 in a file, .npy, where one is named."""
        shape = (self.num_samples, self.num_features)
        if mapped is None:
            features = torch.empty(shape)
        else:
            features = torch.from_numpy(open_memmap(mapped, "w+", np.float16, shape))
        for rows, block_features, _ in self.blocks():
            features[rows] = block_features.to(features.dtype)
        return features_of(features, self.labels)

    def inputs(self, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> FitInputs:
        """What a fit takes, all of it in the device's memory."""
        logits = torch.empty((1, self.num_samples, self.num_classes), dtype=dtype)
        features = torch.empty((1, self.num_samples, self.num_features))
        for rows, block_features, block_logits in self.blocks():
            logits[0, rows], features[0, rows] = block_logits, block_features
        return FitInputs(
            logits=logits.to(device),
            labels=self.labels,
            weight_norm=torch.linalg.vector_norm(self.weight.double(), dim=1),
            class_counts=self.class_counts,
            prior_counts=self.class_counts,
            weight=self.weight,
            bias=self.bias,
            features=features.to(device),
        )

    def record(self) -> dict[str, int | float]:
        """What a record says of them."""
        return {
            "samples": self.num_samples,
            "classes": self.num_classes,
            "features": self.num_features,
            "imbalance_ratio": self.imbalance_ratio,
            "seed": self.seed,
            "decay": self.decay,
        }

    @cached_property
    def _means(self) -> Tensor:
        """(K, D) float32.

        Two lie sqrt(2 D) spread apart: a given wrong one is nearer to a sample with probability
        Phi(-distance / 2).
        """
        rival = min(CONFUSIONS / (self.num_classes - 1), MAX_CONFUSION)
        spread = 2 * -NormalDist().inv_cdf(rival) / math.sqrt(2 * self.num_features)
        shape = (self.num_classes, self.num_features)
        return spread * torch.randn(shape, generator=self._generator(0))

    @cached_property
    def _size(self) -> Tensor:
        """(D,) by which features are multiplied."""
        return torch.arange(1, self.num_features + 1) ** (-self.decay / 2)

    @cached_property
    def _gain(self) -> Tensor:
        return torch.linspace(1.0, TAIL_GAIN, self.num_classes)

    def _generator(self, stream: int) -> torch.Generator:
        """One for each kind of draw, so that none depends on how much another took."""
        return torch.Generator().manual_seed(3 * self.seed + stream)


def features_of(features: Tensor, labels: Tensor) -> FitInputs:
    """What a fit of a whole head takes, of features (N, D) and labels (N,)."""
    counts = torch.bincount(labels)
    return FitInputs(
        logits=None,
        features=features[None],
        labels=labels.long(),
        weight_norm=torch.ones(len(counts), dtype=torch.float64),
        class_counts=counts,
        prior_counts=counts,
    )


def rows_options(
    *, samples: int, classes: int, imbalance_ratio: float = 100.0, features: int = 64
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options for the shape of the rows, with these defaults; the command gets `rows`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.option("--samples", default=samples, show_default=True, help="N.")
        @click.option("--classes", default=classes, show_default=True, help="K.")
        @click.option("--features", default=features, show_default=True, help="D.")
        @click.option("--imbalance-ratio", default=imbalance_ratio, show_default=True)
        @click.option("--seed", default=0, show_default=True)
        @click.option("--decay", default=0.0, show_default=True, help="Of the features.")
        @wraps(command)
        def with_rows(
            *,
            samples: int,
            classes: int,
            features: int,
            imbalance_ratio: float,
            seed: int,
            decay: float,
            **options: object,
        ) -> None:
            rows = SyntheticRows(
                num_samples=samples,
                num_classes=classes,
                num_features=features,
                imbalance_ratio=imbalance_ratio,
                seed=seed,
                decay=decay,
            )
            command(rows=rows, **options)

        return with_rows

    return decorate
