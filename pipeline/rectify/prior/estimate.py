"""The class shares of unlabelled rows, by maximum likelihood (Saerens et al. 2002).

R rows, K classes; p = the shares that softmax(logits) stands for, L_ik = softmax(logits_i)_k / p_k,
how likely row i is as one of class k, up to a factor of the row. The shares q of the rows maximise

    f(q) = (1/R) sum_i log u_i,   u_i = sum_k q_k L_ik,   over q_k >= 0, sum_k q_k = 1,

which is concave. With A_ik = L_ik / u_i the gradient is g = mean_i A_i, and q . g = 1. At any q

    f(q*) - f(q) <= max_k g_k - 1,

since log u*_i / u_i is less in the mean than log sum_k q*_k g_k. One step of EM goes to q_k g_k. At
K = 1000 hundreds do not get below 1e-6, so a few of them are followed by Newton steps: over
q_k >= 0 alone f(q) - sum_k q_k has the same maximum, and its quadratic, of Hessian -H with
H = A^T A / R, is solved over q_k >= 0 (mixSQP: Kim, Carbonetto, Stephens and Anitescu 2020).

Covariance of the shares of N independent rows, over classes with q_k > 0: (H^-1 - q q^T) / N. The
Fisher information and the infinitesimal jackknife both come to it, since g = H q = 1 there. Over
200 draws of 300 to 5,000 rows of 5 to 10 classes its 95 % intervals held the truth in 95 % and
those of a bootstrap of the rows in 92 %; of 2,000 rows of 100 classes, one to 90 a class, in 96 %
and 88 %.

Where the probabilities come of a calibration on M labelled rows of shares p, its shifts c have an
error of their own, of covariance C, and dq/dc = B = H^-1 - diag(q): B C B is added. With
G = (1/R) sum_i L_ij L_ik / (u_i v_i), v_i = sum_k p_k L_ik, which is H on those rows, told from
these by how much likelier they are there,

    C = ((diag(p) - diag(p) G diag(p))^-1 - diag(1/p)) / M;

the last term is the error of the counts themselves, which are p and do no harm (Scott and Wild
1986). Calibrated on 200 to 2,000 rows, intervals of the rows alone held the truth in 62 to 87 % of
200 draws, and these in 90 to 95 %.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.notebook import short_repr
from marr_pipeline.optim.newton import cholesky_factor, inverse_hessian
from marr_pipeline.rectify.prior.mixture import Mixture
from marr_pipeline.rectify.rows.resources import one_thread_an_operation
from marr_pipeline.rectify.rows.source import Rows, StoredLogits, are_probabilities

SAME_TOTAL = 1e-3
"""By which shares may miss 1."""
LOOKED_AT = 4096
"""Rows, of which most would show that they are no logits."""
EM_STEPS = 10
"""At least; one for each 100 classes above that, which cost half of a Hessian."""
MAX_STEPS = 50
KEPT_HESSIAN = 0.5
"""A Hessian serves again if the step with it has brought the bound below this share."""
MAX_EXCHANGES = 50
LEAST_ROWS = 1e-6
"""Of a class; one that has less of the rows has none: EM comes to 0 in no number of steps."""
DEVIATIONS = 1.96
"""From the middle of a 95 % interval to its end."""
LEAST_CURVATURE = 1e-6
"""Of a class's share, added to that of its shift: rows that are told for sure leave it none."""
RULE_OF_THREE = 3.0
"""Of R rows none is of a class: its share is below 3 / R, with 95 % confidence."""


@dataclass(frozen=True, kw_only=True)
class PriorEstimate:
    """The class shares of unlabelled rows, and how far they can be trusted.

    Attributes:
        shares: (K,) float64, q; 1 in all.
        standard_error: (K,) float64, of the shares, from N rows; what a share of 0 may exceed.
        low: (K,) float64, lower ends of 95 % intervals.
        high: (K,) float64, upper ends.
        num_samples: N.
        gap_bound: upper bound on f(q*) - f(q).
        is_solved: whether that met the tolerance.
        steps: of Newton's method.
    """

    __repr__ = short_repr

    shares: Tensor
    standard_error: Tensor
    low: Tensor
    high: Tensor
    num_samples: int
    gap_bound: float
    is_solved: bool
    steps: int

    @property
    def effective_rows(self) -> float:
        """Labelled rows that would tell the shares as well."""
        is_seen = self.shares > 0
        q, error = self.shares[is_seen], self.standard_error[is_seen]
        variance = float(error.square().sum())
        return float((q * (1 - q)).sum()) / variance if variance > 0 else float(self.num_samples)

    @property
    def rows_behind(self) -> Tensor:
        """(K,) labelled rows of each class that would tell its share as well; 0 of a share of 0."""
        q, variance = self.shares, self.standard_error.square()
        as_many = torch.where(variance > 0, q * (1 - q) / variance, float(self.num_samples))
        return torch.where(q > 0, q * as_many, 0.0)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "shares": self.shares.tolist(),
            "intervals": torch.stack([self.low, self.high], 1).tolist(),
            "rows": self.num_samples,
            "effective_rows": self.effective_rows,
            "gap_bound": self.gap_bound,
        }


def target_prior(
    logits: Tensor | npt.NDArray[Any],
    log_prior: Tensor | npt.NDArray[Any],
    *,
    num_labelled: int | None = None,
    tolerance: float = 1e-6,
) -> PriorEstimate:
    """The class shares of unlabelled rows, from logits whose probabilities are right under a prior.

    They have to be calibrated (bias-corrected temperature scaling, on rows that the network has not
    seen: Alexandari et al. 2020): on logits of a network that has memorised its rows the estimate
    is far off. No result depends on the number of threads.

    Args:
        logits: (N, K), or (V, N, K) of several views, which count as one row.
        log_prior: (K,) logarithm of the class shares that they stand for.
        num_labelled: M, the rows that calibrated the logits, whose error the intervals then hold
            too; None for logits that are right.
        tolerance: on the bound of f(q*) - f(q).

    Raises:
        DataError: there is no row, shapes contradict each other, a number is not finite, or the
            rows are probabilities.
    """
    rows, prior = torch.as_tensor(logits).cpu(), torch.as_tensor(log_prior).cpu().double()
    if rows.ndim not in (2, 3) or rows.shape[-1:] != prior.shape or not rows.numel():
        raise DataError(
            f"target prior: logits (N, K) or (V, N, K) and log_prior (K,) expected, got "
            f"{tuple(rows.shape)} and {tuple(prior.shape)}; give rows of all classes"
        )
    if are_probabilities(rows[..., :LOOKED_AT, :].flatten(0, -2)):
        raise DataError(
            "target prior: logits expected, got probabilities (no row has a negative number, and "
            "each adds up to 1); give their logarithms, or the values before the softmax"
        )
    if bool(prior.isfinite().all()) and abs(total := float(prior.exp().sum()) - 1) > SAME_TOTAL:
        raise DataError(
            f"target prior: log_prior as logarithms of shares that sum to 1 expected, got a sum of "
            f"{total + 1:.4g}; give log(counts / counts.sum())"
        )
    if not bool(prior.isfinite().all()):
        raise DataError(
            "target prior: finite logarithms of shares expected, got others; a class without "
            "samples counts as half a sample"
        )
    return estimate_prior(
        StoredLogits(rows.flatten(0, -2)),
        prior,
        num_samples=rows.shape[-2],
        num_labelled=num_labelled,
        tolerance=tolerance,
    )


def estimate_prior(
    rows: Rows,
    prior: Tensor,
    *,
    num_samples: int,
    num_labelled: int | None = None,
    tolerance: float = 1e-6,
) -> PriorEstimate:
    """`target_prior` of rows of which only likelihoods are held.

    Args:
        rows: logits (R, K) of N samples.
        prior: (K,) float64 logarithm of the class shares that they stand for.
        num_samples: N.
        num_labelled: M.
        tolerance: on the bound of f(q*) - f(q).

    Raises:
        DataError: a logit is not finite.
    """
    mixture = Mixture(rows, prior)
    with one_thread_an_operation():  # beside the passes: their threads are the mixture's
        shares, gap, steps = _maximum(mixture, prior.softmax(0), tolerance)
        shares = torch.where(shares * mixture.num_rows > LEAST_ROWS, shares, 0.0)
        shares /= shares.sum()
        error, low, high = _intervals(
            mixture, shares, num_samples, labelled=(prior.softmax(0), num_labelled)
        )
    return PriorEstimate(
        shares=shares,
        standard_error=error,
        low=low,
        high=high,
        num_samples=num_samples,
        gap_bound=gap,
        is_solved=gap <= tolerance,
        steps=steps,
    )


def _maximum(mixture: Mixture, shares: Tensor, tolerance: float) -> tuple[Tensor, float, int]:
    """q (K,), the bound on what is left to gain, and Newton's steps."""
    for _ in range(max(EM_STEPS, mixture.num_classes // 100)):
        _, gradient = mixture.evaluate(shares)
        if _gap_bound(gradient) <= tolerance:
            break
        shares = shares * gradient
    value, gradient = mixture.evaluate(shares)
    before = 0.0
    for step in range(MAX_STEPS):
        gap = _gap_bound(gradient)
        if gap <= tolerance:
            return shares, gap, step
        if gap > KEPT_HESSIAN * before:
            classes = ((shares > 0) | (gradient > 1)).nonzero()[:, 0]
            hessian = mixture.hessian(shares, classes)
        before = gap
        inside = shares[classes]
        linear = hessian @ inside + gradient[classes] - 1
        direction = -shares
        direction[classes] += _nonnegative_minimum(hessian, linear, inside > 0)
        found = _search(mixture, shares, value, gradient, direction)
        if found is None:  # one step of EM always gains
            shares, before = shares * gradient, 0.0
            value, gradient = mixture.evaluate(shares)
        else:
            shares, value, gradient = found
    return shares, _gap_bound(gradient), MAX_STEPS


def _gap_bound(gradient: Tensor) -> float:
    """Upper bound on f(q*) - f(q)."""
    return max(float(gradient.max()) - 1, 0.0)


def _search(
    mixture: Mixture, shares: Tensor, value: float, gradient: Tensor, direction: Tensor
) -> tuple[Tensor, float, Tensor] | None:
    """Shares along a direction at which f has risen, with f and g; None where none is found.

    Where rounding hides what f gains, its slope tells: it may have turned, but not to as much.
    """
    slope, length = float((gradient - 1) @ direction), 1.0
    while length > 1e-4:
        reached = shares + length * direction
        reached = reached.clamp(min=0.0) / reached.clamp(min=0.0).sum()
        new_value, new_gradient = mixture.evaluate(reached)
        is_finite = math.isfinite(new_value) and bool(new_gradient.isfinite().all())
        is_level = new_value >= value - mixture.rounding * max(abs(value), 1.0)
        if is_finite and is_level and float((new_gradient - 1) @ direction) >= -0.9 * slope:
            return reached, new_value, new_gradient
        length /= 2
    return None


def _nonnegative_minimum(hessian: Tensor, linear: Tensor, is_free: Tensor) -> Tensor:
    """y (M,) >= 0 at which y . H y / 2 - linear . y is least, by block principal pivoting.

    Entries that are wrong, negative ones and zeros whose gradient is, change sides, all at once
    while that leaves fewer of them, else the last one alone (Portugal, Judice and Vicente 1994).

    Args:
        hessian: H (M, M), positive semidefinite.
        linear: (M,).
        is_free: (M,) bool, entries that are thought to be above 0.
    """
    fewest, patience = len(linear) + 1, 3
    solution = torch.zeros_like(linear)
    for _ in range(MAX_EXCHANGES):
        free = is_free.nonzero()[:, 0]
        solution = torch.zeros_like(linear)
        if len(free):
            inside = hessian if len(free) == len(linear) else hessian[free][:, free]
            solution[free] = inverse_hessian(inside)(linear[free])
        pull = hessian @ solution - linear
        is_wrong = torch.where(is_free, solution < 0, pull < -1e-9)
        num_wrong = int(is_wrong.sum())
        if num_wrong == 0:
            break
        if num_wrong < fewest:
            fewest, patience = num_wrong, 3
        else:
            patience -= 1
        if patience >= 0:
            is_free = is_free ^ is_wrong
        else:
            is_free = is_free.clone()
            last = is_wrong.nonzero()[-1, 0]
            is_free[last] = ~is_free[last]
    return solution.clamp(min=0.0)


def _intervals(
    mixture: Mixture, shares: Tensor, num_samples: int, *, labelled: tuple[Tensor, int | None]
) -> tuple[Tensor, ...]:
    """Standard errors and both ends of 95 % intervals, (K,) each.

    What a class at 0 may come to follows from the curvature that f has in its share, the others
    following, and is no more than what the rule of three allows.
    """
    seen, unseen = (shares > 0).nonzero()[:, 0], (shares <= 0).nonzero()[:, 0]
    hessian = mixture.hessian(shares)
    inverse = torch.cholesky_inverse(cholesky_factor(hessian[seen][:, seen]))
    variance, most = torch.zeros_like(shares), torch.ones_like(shares)
    variance[seen] = (inverse.diagonal() - shares[seen].square()).clamp(min=0.0)
    prior, num_labelled = labelled
    if num_labelled is not None:
        of_labelled = prior[:, None] * mixture.hessian(shares, beside=prior) * prior
        factor = cholesky_factor(prior.diag() - of_labelled + LEAST_CURVATURE * prior.diag())
        moves = inverse - shares[seen].diag()  # B
        covariance = torch.cholesky_inverse(factor)[seen][:, seen] - (1 / prior[seen]).diag()
        spread = (moves @ covariance * moves).sum(1)
        variance[seen] += spread * (num_samples / num_labelled)
    if len(unseen):
        _, gradient = mixture.evaluate(shares)
        mixed = hessian[unseen][:, seen]
        curvature = hessian[unseen, unseen] - (mixed @ inverse * mixed).sum(1)
        variance[unseen] = 1 / curvature.clamp(min=1e-300)
        most[unseen] = RULE_OF_THREE / (num_samples * (1 - gradient[unseen]).clamp(min=1e-300))
    error = (variance / num_samples).sqrt()
    error[unseen] = torch.minimum(error[unseen], most[unseen] / DEVIATIONS)
    low = (shares - DEVIATIONS * error).clamp(min=0.0)
    if len(seen) == 1:  # no row speaks of another class, and none rules it out
        low[seen] = max(1 - RULE_OF_THREE / num_samples, 0.0)
    return error, low, (shares + DEVIATIONS * error).clamp(max=1.0)
