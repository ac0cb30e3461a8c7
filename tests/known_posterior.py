"""Gaussian classes, whose posterior is known under every prior.

K classes of unit covariance in D dimensions: log p(x | k) = x . mu_k - |mu_k|^2 / 2 + a number of x
alone. So a linear head on x has the exact posterior, and so has softmax(log p(x | k) + log q_k).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rectifier import Rectifier

DOUBLE = torch.float64


@dataclass(frozen=True, kw_only=True)
class KnownPosterior:
    """Classes trained on as a long tail, pi_k from 1 to 1 / ratio.

    Attributes:
        num_classes: K.
        num_features: D.
        ratio: largest over smallest share of training.
        spread: deviation of the class means, by which classes differ.
        sureness: by which the network's logits are too large: s (log p(x | k) + log pi_k).
    """

    num_classes: int = 6
    num_features: int = 5
    ratio: float = 50.0
    spread: float = 0.8
    sureness: float = 1.0

    @cached_property
    def means(self) -> Tensor:
        """(K, D)."""
        generator = torch.Generator().manual_seed(1)
        shape = (self.num_classes, self.num_features)
        return self.spread * torch.randn(shape, generator=generator, dtype=DOUBLE)

    @cached_property
    def prior(self) -> Tensor:
        """pi (K,)."""
        shares = self.ratio ** -(torch.arange(self.num_classes) / (self.num_classes - 1)).double()
        return shares / shares.sum()

    @property
    def targets(self) -> dict[str, Tensor]:
        """Priors (K,) of other places, one of them without a class."""
        uniform = torch.full_like(self.prior, 1 / self.num_classes)
        without = torch.where(torch.arange(self.num_classes) == 1, 0.0, uniform)
        odd = torch.arange(self.num_classes).double().sin().square() + 0.02
        return {
            "uniform": uniform,
            "train": self.prior,
            "backward": self.prior.flip(0),
            "without one": without / without.sum(),
            "odd": odd / odd.sum(),
        }

    def likelihood(self, features: Tensor) -> Tensor:
        """log p(x | k) (N, K) up to a number of each row."""
        return features @ self.means.T - 0.5 * self.means.square().sum(1)

    def logits(self, features: Tensor) -> Tensor:
        """(N, K) of the network that was trained on pi."""
        return self.sureness * (self.likelihood(features) + self.prior.log())

    def draw(self, prior: Tensor, num_rows: int, *, seed: int) -> tuple[Tensor, Tensor]:
        """Features (N, D) and labels (N,) of a place of this prior."""
        generator = torch.Generator().manual_seed(seed)
        labels = torch.multinomial(prior, num_rows, replacement=True, generator=generator)
        shape = (num_rows, self.num_features)
        noise = torch.randn(shape, generator=generator, dtype=DOUBLE)
        return self.means[labels] + noise, labels

    def inputs(self, prior: Tensor, num_rows: int, *, seed: int) -> FitInputs:
        """Rows of a place of this prior, under the network trained on pi."""
        features, labels = self.draw(prior, num_rows, seed=seed)
        counts = (10_000 * self.prior).round().long()
        origin = torch.zeros(1, self.num_features, dtype=DOUBLE)
        return FitInputs(
            logits=self.logits(features)[None],
            labels=labels,
            weight_norm=0.5 + torch.linspace(0, 1, self.num_classes, dtype=DOUBLE),
            class_counts=counts,
            prior_counts=self.prior * 10_000,
            weight=self.sureness * self.means,
            bias=self.logits(origin)[0],
            features=features[None],
        )

    def divergence(self, rectifier: Rectifier, prior: Tensor, *, num_rows: int = 4_000) -> float:
        """Mean KL of a rectifier's probabilities from the posterior of a place of this prior."""
        features, _ = self.draw(prior, num_rows, seed=9)
        log_true = torch.log_softmax(self.likelihood(features) + prior.log(), 1)
        found = torch.log_softmax(rectifier.apply(self.logits(features), features), 1)
        true = log_true.exp()
        total = float(torch.where(true > 0, true * (log_true - found), 0.0).sum(1).mean())
        assert math.isfinite(total)
        return total
