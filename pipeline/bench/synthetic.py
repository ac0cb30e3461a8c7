"""Long-tailed logits out of nothing but a seed, as a trained classifier would give them.

N samples, K classes, D features. Class means mu_k ~ N(0, I_D) spread^2, features
h = mu_y + N(0, I_D), and a head that is Bayes' rule under the training prior,
z_k = mu_k . h - |mu_k|^2 / 2 + log prior_k, but for a gain that shrinks from head to tail as the
weight norms of long-tailed training do (paper, section 3). So logits carry label and prior,
overlap, and rectification has both a scale and a shift to repair.

Rows come in blocks, so that a file larger than memory can be written; every block of a set is the
same however many are asked for.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.rectify.inputs import FitInputs

NUM_FEATURES = 64
CONFUSIONS = 2.5
"""Wrong classes that lie nearer than the own one, on average over samples, if they were
independent. Gives 65 to 78 % right at K from 7 to 8142."""
MAX_CONFUSION = 0.15
"""Of one class with another: where K is small there are not so many to confuse."""
TAIL_GAIN = 0.7
"""Gain of the rarest class; the most frequent one's is 1."""
BLOCK_LOGITS = 2**22


@dataclass(frozen=True, kw_only=True)
class SyntheticLogits:
    """A set of logits, described; `blocks` makes it.

    Attributes:
        num_samples: N, at least K: every class has an image.
        num_classes: K, at least 2.
        imbalance_ratio: largest over smallest class count, of an exponential profile.
        seed: of every draw.

    Raises:
        ConfigError: a value outside its range.
    """

    num_samples: int
    num_classes: int
    imbalance_ratio: float = 100.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ConfigError(f"--classes: at least 2 expected, got {self.num_classes}")
        if self.num_samples < self.num_classes:
            raise ConfigError(
                f"--samples: at least one for each of {self.num_classes} classes expected, "
                f"got {self.num_samples}"
            )
        if not (math.isfinite(self.imbalance_ratio) and self.imbalance_ratio >= 1):
            raise ConfigError(
                f"--imbalance-ratio: a number >= 1 expected, got {self.imbalance_ratio}"
            )

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
        return self._gain[:, None] * self._means

    @cached_property
    def bias(self) -> Tensor:
        """(K,) float32, the head's."""
        log_prior = torch.log(self.class_counts / self.num_samples)
        return self._gain * (log_prior - 0.5 * self._means.square().sum(1))

    @property
    def weight_norm(self) -> Tensor:
        """(K,) float64."""
        return self.weight.double().square().sum(1).sqrt()

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """First row and logits (B, K) float32 of every block, in order; the memory is reused."""
        generator, labels = self._generator(2), self.labels
        num_rows = max(1, BLOCK_LOGITS // self.num_classes)
        space = torch.empty((num_rows, self.num_classes))
        for start in range(0, self.num_samples, num_rows):
            own = self._means[labels[start : start + num_rows]]
            features = own + torch.randn(own.shape, generator=generator)
            block = space[: len(own)]
            torch.addmm(self.bias, features, self.weight.T, out=block)
            yield start, block

    @cached_property
    def _means(self) -> Tensor:
        """(K, D) float32 class means.

        Two means lie sqrt(2 D) spread apart, and a sample is nearer to a given wrong one with
        probability Phi(-distance / 2).
        """
        rival = min(CONFUSIONS / (self.num_classes - 1), MAX_CONFUSION)
        spread = 2 * -NormalDist().inv_cdf(rival) / math.sqrt(2 * NUM_FEATURES)
        shape = (self.num_classes, NUM_FEATURES)
        return spread * torch.randn(shape, generator=self._generator(0))

    @cached_property
    def _gain(self) -> Tensor:
        return torch.linspace(1.0, TAIL_GAIN, self.num_classes)

    def _generator(self, stream: int) -> torch.Generator:
        """One for each kind of draw, so that none depends on how much another took."""
        return torch.Generator().manual_seed(3 * self.seed + stream)


def logits_in_memory(synthetic: SyntheticLogits, *, dtype: torch.dtype) -> Tensor:
    """All logits (1, N, K) as one view."""
    logits = torch.empty((1, synthetic.num_samples, synthetic.num_classes), dtype=dtype)
    for start, block in synthetic.blocks():
        logits[0, start : start + len(block)] = block
    return logits


def synthetic_inputs(
    synthetic: SyntheticLogits, *, dtype: torch.dtype, device: torch.device
) -> FitInputs:
    """What a fit takes, with all logits in the device's memory."""
    return FitInputs(
        logits=logits_in_memory(synthetic, dtype=dtype).to(device),
        labels=synthetic.labels,
        weight_norm=synthetic.weight_norm,
        class_counts=synthetic.class_counts,
        prior_counts=synthetic.class_counts,
    )
