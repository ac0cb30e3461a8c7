"""Weights of a sum of logits, each of another network or head, on the same rows.

M members, R rows, K classes, y = labels (R,). x_m = logits of member m (R, K) minus the log of the
prior that they stand for, so that each speaks for the uniform prior, as their sum then does:

    s_i = sum_m a_m x_mi,    F(a) = sum_i U_{y_i} (logsumexp(s_i) - s_{i, y_i}),    a >= 0,

with U_j = 1 / (classes with rows * rows of class j): every class counts alike. With P = softmax(s),
by row, and E_i[x] = sum_k P_ik x_ik,

    dF/da_m          = sum_i U_{y_i} (E_i[x_m] - x_{m, i, y_i})
    d2F/(da_m da_n)  = sum_i U_{y_i} (E_i[x_m x_n] - E_i[x_m] E_i[x_n]).

F is convex. The minimum under a >= 0 is found as that of Lawson and Hanson's least squares (1974):
one more weight is set free at a time, and Newton's method finds those that are free. All members at
weight 1 is Generalised Logit Adjustment (Zhu et al. 2023).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from marr_pipeline.optim.newton import minimize_newton
from marr_pipeline.optim.ridge import Ridge
from marr_pipeline.optim.solvable import Curved, Evaluation, FitStatus, Solution
from marr_pipeline.rectify.rows.source import PickedRows, Rows

BLOCK_NUMBERS = 2**20
"""Logits of all members that are worked on at once: 8 MB."""
TOLERANCE = 1e-8
"""On the norm of F's gradient in the free weights, and on what a held one would gain."""


class CombinationLoss(Curved):
    """F of the module's docstring.

    Args:
        members: M sources of the same rows.
        log_priors: (M, K) float64, what each one's logits stand for.
        labels: (R,) int64.
        free: (M,) bool, the weights that may move; None for all.
    """

    def __init__(
        self,
        members: Sequence[Rows],
        log_priors: Tensor,
        labels: Tensor,
        *,
        free: Tensor | None = None,
    ) -> None:
        super().__init__(Ridge(l2=0.0, center=torch.zeros(len(members)).double()), free=free)
        self._members, self._log_priors, self._labels = members, log_priors, labels
        counts = torch.bincount(labels, minlength=log_priors.shape[1])
        weights = 1 / (int((counts > 0).sum()) * counts.clamp(min=1).double())
        self._row_weights = weights[labels]

    @property
    def num_rows(self) -> int:
        """R."""
        return len(self._labels)

    def subset(self, rows: Tensor) -> Self:
        """Of some rows (B,) int64 alone, whose classes then count alike."""
        picked = [PickedRows(member, rows) for member in self._members]
        return type(self)(picked, self._log_priors, self._labels[rows], free=self.free)

    def with_free(self, free: Tensor) -> "CombinationLoss":
        """The same F with other weights (M,) bool free to move."""
        return CombinationLoss(self._members, self._log_priors, self._labels, free=free)

    def _data(self, theta: Tensor, *, precise: bool) -> Evaluation:
        value, largest = torch.zeros(()).double(), -torch.inf
        gradient = torch.zeros_like(theta)
        for x, labels, weight in self._blocks():
            total = torch.tensordot(theta, x, 1)
            losses = total.logsumexp(1) - _own(total, labels)
            value += weight @ losses
            largest = max(largest, float(losses.max()))
            excess = (total.softmax(1) * x).sum(2) - _own(x, labels)
            gradient += excess @ weight
        return Evaluation(value=float(value), gradient=gradient, largest_row_loss=largest)

    def _data_hessian(self, theta: Tensor) -> Tensor:
        hessian = torch.zeros(len(theta), len(theta)).double()
        for x, _, weight in self._blocks():
            probability = torch.tensordot(theta, x, 1).softmax(1)
            centred = x - (probability * x).sum(2, keepdim=True)
            spread = (probability * weight[:, None]).sqrt_() * centred
            flat = spread.flatten(1)
            hessian += flat @ flat.T
        return hessian

    def _is_separated(self, theta: Tensor) -> bool:
        for x, labels, _ in self._blocks():
            total = torch.tensordot(theta, x, 1)
            own = _own(total, labels)
            others = total.scatter(1, labels[:, None], -torch.inf)
            if not bool((own > others.amax(1)).all()):
                return False
        return True

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """x (M, B, K) float64, labels (B,) and row weights (B,), rows in their order."""
        num_members, num_classes = self._log_priors.shape
        size = max(1, BLOCK_NUMBERS // (num_members * num_classes))
        for start in range(0, self.num_rows, size):
            rows = slice(start, min(start + size, self.num_rows))
            x = for_uniform_prior(self._members, self._log_priors, rows)
            yield x, self._labels[rows], self._row_weights[rows]


def for_uniform_prior(members: Sequence[Rows], log_priors: Tensor, rows: slice) -> Tensor:
    """x (M, B, K) float64 of the module's docstring, of consecutive rows."""
    blocks = torch.stack([member.block(rows).double() for member in members])
    return blocks.sub_(log_priors[:, None])


def fit_weights(loss: CombinationLoss) -> Solution:
    """The weights (M,) >= 0 at the minimum of F, from all at 0.

    Returns:
        `theta` is a; unbounded where a sum has every own label on top, so that larger weights
        lower F for ever; a step limit where Newton's method does not reach the tolerance.
    """
    count = len(loss.ridge.center)
    free, weights = torch.zeros(count, dtype=torch.bool), torch.zeros(count).double()
    passes = 0.0
    while True:
        every = loss.evaluate(weights, precise=True)
        gain = torch.where(free, 0.0, -every.gradient)
        if not bool((gain > TOLERANCE).any()):
            break
        free[gain.argmax()] = True
        while True:
            problem = loss.with_free(free)
            found = minimize_newton(problem, weights, TOLERANCE)
            passes += problem.passes
            if found.status is FitStatus.UNBOUNDED:
                return replace(found, passes=passes + loss.passes)
            is_out = free & (found.theta <= 0)
            if not bool(is_out.any()):
                weights = found.theta
                break
            # As far towards it as all stay >= 0; the one that gets to 0 first is held there.
            ratios = torch.where(is_out, weights / (weights - found.theta), torch.inf)
            weights = weights + ratios.min() * (found.theta - weights)
            free[ratios.argmin()] = False
            weights[~free] = 0.0
        if found.status is not FitStatus.CONVERGED:
            return replace(found, passes=passes + loss.passes)
    return Solution(
        theta=weights,
        status=FitStatus.CONVERGED,
        loss=every.value,
        gradient=every.gradient,
        gradient_norm=float(torch.linalg.vector_norm(every.gradient[free])),
        passes=passes + loss.passes,
    )


def _own(values: Tensor, labels: Tensor) -> Tensor:
    """Of values (..., B, K) those of each row's own label (..., B)."""
    index = labels.expand(values.shape[:-1])[..., None]
    return values.gather(-1, index)[..., 0]
