"""Likelihoods of unlabelled rows under each class, and passes over mixtures of them.

R rows, K classes, L (R, K) > 0, known up to a factor of each row. For weights w (K,) >= 0, with
u_i = sum_k w_k L_ik and A_ik = L_ik / u_i,

    f(w) = (1/R) sum_i log u_i,   gradient g = (1/R) sum_i A_i,   Hessian -H,  H = A^T A / R.

A pass is two products of L with a vector; L is made once. Sums are in float64 and in order, so
that a result does not depend on the number of threads.
"""

import math

import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.rows.blocks import Blocks, cut
from marr_pipeline.rectify.rows.resources import workers
from marr_pipeline.rectify.rows.source import Rows, StoredLogits

PRECISE_UP_TO = 2**22
"""Likelihoods that are held in float64; more in float32, which moves g by 1e-7."""
HESSIAN_PARTS = 8
"""Of a Hessian's rows, one a thread at a time."""


class Mixture:
    """L = exp(logits - log_prior) by rows, each divided by its largest entry.

    Args:
        logits: (R, K), in any floating type, or where they come from.
        log_prior: (K,) float64.

    Attributes:
        num_rows: R.
        num_classes: K.
        rounding: of f.

    Raises:
        DataError: a logit is not finite.
    """

    def __init__(self, logits: Tensor | Rows, log_prior: Tensor) -> None:
        source = StoredLogits(logits) if isinstance(logits, Tensor) else logits
        self.num_rows, self.num_classes = shape = (source.num_rows, source.num_classes)
        is_precise = math.prod(shape) <= PRECISE_UP_TO
        dtype = torch.float64 if is_precise else torch.float32
        self.rounding = 1e-13 if is_precise else 1e-7
        self._likelihood = torch.empty(shape, dtype=dtype)
        self._blocks = Blocks(StoredLogits(self._likelihood))
        self._workers = workers(torch.get_num_threads())

        def fill(chunk: slice) -> int:
            bad = 0
            for rows in self._blocks.slices(chunk):
                relative = source.block(rows).double() - log_prior
                relative -= relative.amax(1, keepdim=True)
                torch.exp(relative.to(dtype), out=self._likelihood[rows])
                bad += int(relative.sum(1).isfinite().logical_not_().sum())
            return bad

        num_bad = sum(self._workers.map(fill, self._blocks.chunks))
        if num_bad:
            raise DataError(
                f"logits: finite numbers expected, got others in {num_bad:,} of "
                f"{self.num_rows:,} rows; leave those rows out"
            )

    def evaluate(self, weights: Tensor) -> tuple[float, Tensor]:
        """f and g (K,) float64 at w (K,) float64: one pass. Not finite where a u_i is 0."""
        placed = weights.to(self._likelihood.dtype)

        def part(chunk: slice) -> tuple[Tensor, Tensor]:
            value, gradient = weights.new_zeros(()), torch.zeros_like(weights)
            for rows in self._blocks.slices(chunk):
                likelihood = self._likelihood[rows]
                total = torch.mv(likelihood, placed)
                value += total.double().log().sum()
                gradient += torch.mv(likelihood.T, total.reciprocal_())
            return value, gradient

        value, gradient = weights.new_zeros(()), torch.zeros_like(weights)
        for one, other in self._workers.map(part, self._blocks.chunks):
            value += one
            gradient += other
        return float(value) / self.num_rows, gradient / self.num_rows

    def hessian(
        self, weights: Tensor, classes: Tensor | None = None, *, beside: Tensor | None = None
    ) -> Tensor:
        """H (M, M) float64 at w (K,), of some classes (M,) int64 or all.

        With other weights v (K,) beside w it is (1/R) sum_i L_ij L_ik / (u_i(w) u_i(v)). Costs
        M / 2 multiplications a likelihood: about 15 passes at K = 1000.
        """
        likelihood = self._likelihood
        num = self.num_classes if classes is None else len(classes)
        both = torch.stack([weights, weights if beside is None else beside], 1)
        both = both.to(likelihood.dtype)
        curved = likelihood.new_empty(self.num_rows)

        def weigh(chunk: slice) -> None:
            torch.prod(likelihood[chunk] @ both, 1, out=curved[chunk]).reciprocal_()

        for _ in self._workers.map(weigh, self._blocks.chunks):
            pass
        matrix = likelihood.new_zeros(num, num)

        def fill(part: slice) -> None:
            """These rows of the lower triangle; the upper one is the same."""
            for chunk in self._blocks.chunks:
                right = likelihood[chunk, : part.stop]
                if classes is not None:
                    right = likelihood[chunk].index_select(1, classes[: part.stop])
                left = right[:, part] * curved[chunk, None]
                matrix[part, : part.stop].addmm_(left.T, right)

        parts = cut(slice(0, num), max_length=max(32, math.ceil(num / HESSIAN_PARTS)))
        for _ in self._workers.map(fill, parts[::-1]):  # the largest first
            pass
        lower = matrix.double().tril_()
        return (lower + lower.tril(-1).T) / self.num_rows
