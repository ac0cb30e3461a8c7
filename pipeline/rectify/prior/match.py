"""Shifts at which unlabelled rows are predicted in given class shares.

R rows, K classes, x = logits (R, K), q = the shares that the rows are known to have. One shift a
class is sought at which the mean of softmax(x + c) is q. It is the minimum of the convex

    F(c) = (1/R) sum_i logsumexp(x_i + c) - q . c,   gradient m - q,  m = mean_i softmax(x_i + c),

up to a constant added to all of c. With L_ik = exp(x_ik) and w = exp(c) this has f(w), g and H of
`estimate`:  F = f - q . c,  m = w g,  and its Hessian is diag(m) - diag(w) H diag(w).

It moves every prediction so that the shares come out, whatever the rows are: right where the shares
are known, ruinous where they are not (docs/priors.md).
"""

import math

import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.optim.newton import inverse_hessian
from marr_pipeline.rectify.inputs import LEFT_OUT
from marr_pipeline.rectify.prior.mixture import Mixture
from marr_pipeline.rectify.rows.resources import one_thread_an_operation
from marr_pipeline.rectify.rows.source import Rows, StoredLogits

TOLERANCE = 1e-6
"""On the total variation between m and q."""
MATCHED = 1e-4
"""The same, where rounding ends the search."""
NEVER = 1e300
"""Subtracted from the logits of a class that is left out."""
MAX_STEPS = 100
LONGEST_STEP = 5.0
"""Of one class's shift: where no prediction is in doubt, the curvature says nothing."""


def matching_shift(logits: Tensor | Rows, shares: Tensor) -> Tensor:
    """c (K,) float64, of mean 0 over the classes that have a share; `LEFT_OUT` for the others.

    Args:
        logits: (..., K) of all rows, or where these come from.
        shares: (K,) q, at least 0, 1 in all.

    Raises:
        DataError: there is no row, a logit is not finite, or no shift makes the shares.
    """
    kept = (shares > 0).nonzero()[:, 0]
    rows = StoredLogits(logits.cpu().flatten(0, -2)) if isinstance(logits, Tensor) else logits
    if rows.num_rows == 0:
        raise DataError("match prior: rows to predict expected, got none; give some")
    mixture = Mixture(rows, NEVER * (shares <= 0).double())
    with one_thread_an_operation():  # beside the passes: their threads are the mixture's
        shift, distance = _minimum(mixture, shares.double(), kept)
    if not distance <= MATCHED:
        raise DataError(
            f"match prior: rows that shifts can bring to the shares given expected, got shares "
            f"{distance:.2g} away (total variation) at the best that were found; logits as sure as "
            "these cannot be moved, calibrate them first"
        )
    found = torch.full_like(shares, LEFT_OUT, dtype=torch.float64)
    found[kept] = shift - shift.mean()
    return found


def _minimum(mixture: Mixture, shares: Tensor, kept: Tensor) -> tuple[Tensor, float]:
    """c (M,) of the classes kept (M,) by Newton's method, and the total variation that is left."""
    target = shares[kept]
    shift = torch.zeros_like(target)

    def evaluate(shift: Tensor) -> tuple[float, Tensor, Tensor]:
        """F, m (M,), and the weights (M,) up to a factor, none of which overflows."""
        largest = shift.max()
        weights = (shift - largest).exp()
        value, gradient = mixture.evaluate(spread(weights))
        return value + float(largest - target @ shift), weights * gradient[kept], weights

    def spread(weights: Tensor) -> Tensor:
        """(K,), 0 for a class that is left out."""
        return torch.zeros_like(shares).index_copy_(0, kept, weights)

    value, mean, weights = evaluate(shift)
    for _ in range(MAX_STEPS):
        missing = target - mean
        distance = 0.5 * float(missing.abs().sum())
        if distance <= TOLERANCE:
            break
        curvature = mixture.hessian(spread(weights), kept)
        hessian = mean.diag() - weights[:, None] * curvature * weights
        step = inverse_hessian(hessian)(missing)
        step -= step.mean()
        slope = float(missing @ step)
        length = min(1.0, LONGEST_STEP / float(step.abs().max()))
        while length > 1e-4:
            reached = shift + length * step
            new_value, new_mean, new_weights = evaluate(reached)
            falls = new_value <= value - 1e-4 * length * slope + mixture.rounding * abs(value)
            if math.isfinite(new_value) and falls:
                break
            length /= 2
        else:
            break
        shift, value, mean, weights = reached, new_value, new_mean, new_weights
    return shift, distance
