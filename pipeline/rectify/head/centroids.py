"""Heads in closed form: class means, and the linear discriminant with a shrunken covariance.

K classes, D features x (R, D), mu_k the mean of class k's rows, S the pooled covariance of
x - mu_y. For classes that are equally common

    class means        W = mu,               b_k = -|mu_k|^2 / 2
    discriminant       W = mu S_a^-1,        b_k = -mu_k S_a^-1 mu_k / 2,
                       S_a = (1 - a) S + a tr(S)/D I

The mean of the class means is taken from every mu_k first, which moves all logits of a row alike
and so changes no probability, but keeps far-off features exact. With a = 1 the second is the first
times D / tr(S). Of S = Q diag(e) Q^T one decomposition serves every a.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from marr_pipeline.rectify.rows.source import HELD_ROWS, FeatureRows

ROUNDING = 1e-12
"""Of a mean's size: what differs by less is the same, rounded."""
LEAST_SHARE = 1e-9
"""Of the mean variance: what S_a has at least in every direction."""


@dataclass(frozen=True, kw_only=True)
class ClassMeans:
    """Means of the rows of each class.

    Attributes:
        counts: (K,) int64 rows of each class.
        origin: (D,) float64, the mean of the means.
        means: (K, D) float64 mu_k less the origin; 0 for a class without rows.
    """

    counts: Tensor
    origin: Tensor
    means: Tensor

    @classmethod
    def of_sums(cls, sums: Tensor, counts: Tensor) -> "ClassMeans":
        """From the sums (K, D) of each class's rows."""
        present = (counts > 0)[:, None]
        means = sums / counts.clamp(min=1)[:, None]
        origin = means.sum(0) / present.sum()
        apart = means - origin
        is_apart = present & (apart.abs() > ROUNDING * means.abs())
        return cls(counts=counts, origin=origin, means=torch.where(is_apart, apart, 0.0))

    def head(self, weight: Tensor) -> Tensor:
        """The head (K, D + 1) on x of weight (K, D): b_k = -mu_k . W_k / 2 about the origin."""
        bias = -0.5 * (self.means * weight).sum(1) - weight @ self.origin
        return torch.cat([weight, bias[:, None]], 1)


@dataclass(frozen=True, kw_only=True)
class Discriminant:
    """The linear discriminant at every shrinkage.

    Attributes:
        classes: the means.
        variances: (D,) float64 e.
        basis: (D, D) float64 Q.
    """

    classes: ClassMeans
    variances: Tensor
    basis: Tensor

    @classmethod
    def of_covariance(cls, classes: ClassMeans, covariance: Tensor) -> "Discriminant":
        """From S (D, D), which is decomposed."""
        variances, basis = torch.linalg.eigh(covariance)
        return cls(classes=classes, variances=variances.clamp(min=0).cpu(), basis=basis.cpu())

    def spread(self, shrinkage: float) -> Tensor:
        """(D,) variances of S_a; of ones where no row differs from its class's mean."""
        mean = self.variances.mean()
        if not float(mean) > 0:
            return torch.ones_like(self.variances)
        least = LEAST_SHARE * mean
        return ((1 - shrinkage) * self.variances + shrinkage * mean).clamp(min=least)

    def head(self, shrinkage: float) -> Tensor:
        """(K, D + 1) on x."""
        turned = self.classes.means @ self.basis / self.spread(shrinkage)
        return self.classes.head(turned @ self.basis.T)


def class_sums(rows: FeatureRows, labels: Tensor, num_groups: int) -> Tensor:
    """Sums (G, D) float64, on the rows' device, of the rows of each group, given by labels (R,)."""
    labels = labels.to(rows.device)
    sums = torch.zeros((num_groups, rows.num_features), dtype=torch.float64, device=rows.device)
    for start in range(0, rows.num_rows, HELD_ROWS):
        block = slice(start, start + HELD_ROWS)
        sums.index_add_(0, labels[block], rows.block(block, torch.float64))
    return sums


def scatter(
    rows: FeatureRows, about: Tensor, labels: Tensor, groups: Tensor, num_groups: int
) -> Tensor:
    """sum (x - about_y)(x - about_y)^T (G, D, D) float64 of the rows of each group.

    A product is made of a block in the rows' own precision and added up in float64.

    Args:
        rows: x (R, D).
        about: (K, D) float64, a point for each class.
        labels: (R,) classes.
        groups: (R,) int64 group of each row, 0..G-1.
        num_groups: G.
    """
    device, width = rows.device, rows.num_features
    about, labels, groups = about.to(device, rows.precision), labels.to(device), groups.to(device)
    total = torch.zeros((num_groups, width, width), dtype=torch.float64, device=device)
    for group in range(num_groups):
        for members in torch.split((groups == group).nonzero()[:, 0], HELD_ROWS):
            block = rows.block(members) - about[labels[members]]
            total[group] += block.T @ block
    return total
