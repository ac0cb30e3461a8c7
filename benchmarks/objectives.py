"""The objective that is raced for, by our own passes and as one writes it with autograd.

F(theta) = (1/S) sum_i U_{y_i} CE(scale * x_i + shift, y_i) + R(theta), as in
`marr_pipeline.rectify.objective`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from marr_pipeline.rectify.affine import AffineProblem, build_problem, starting_point
from marr_pipeline.rectify.fit import FitResult, fit_rectifier
from marr_pipeline.rectify.inputs import FitInputs, class_weights
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.rows.kernel import VARIABLE
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.strengths import with_strengths


@dataclass(frozen=True)
class Contest:
    """An objective over rows, ready for every rival.

    Attributes:
        inputs: the rows, on their device.
        settings: the objective; optimizer and tolerance are the rivals' own.
        gap: how near to the least loss a fit has to come.
    """

    inputs: FitInputs
    settings: RectifySettings
    gap: float

    def problem(self, *, kernel: str = "") -> AffineProblem:
        """As our solvers see it, with a count of passes of its own, the passes going that way."""
        make_family = METHODS[self.settings.method].family
        assert make_family is not None
        with passes_by(kernel):
            settings = with_strengths(self.inputs, self.settings)
            return build_problem(self.inputs, settings, make_family(self.inputs.weight_norm))

    def start(self) -> Tensor:
        """theta (P,) where every fit starts."""
        return starting_point(self.problem(), self.settings)

    def fit(self, optimizer: str, *, gap: float | None = None, kernel: str = "") -> FitResult:
        """One whole fit of ours, certified, the passes going that way."""
        tolerance = self.gap if gap is None else gap
        if self.settings.l2 == 0:  # then it is on the gradient's norm: small enough for the gap
            tolerance = 0.1 * tolerance**0.5
        settings = replace(self.settings, optimizer=optimizer, tolerance=tolerance)
        with passes_by(kernel):
            return fit_rectifier(self.inputs, settings)


@contextmanager
def passes_by(kernel: str) -> Iterator[None]:
    """Within, losses that are made pass over their rows that way; "" for what is usual."""
    before = os.environ.get(VARIABLE, "")
    os.environ[VARIABLE] = kernel or before
    try:
        yield
    finally:
        os.environ[VARIABLE] = before


class AutogradObjective:
    """F by `cross_entropy` over all rows at once, and autograd for its gradient.

    Args:
        contest: the objective.
        dtype: of the arithmetic over the rows.
    """

    def __init__(self, contest: Contest, dtype: torch.dtype) -> None:
        problem, settings = contest.problem(), contest.settings
        source, labels = contest.inputs.source()
        logits = source.block(slice(0, source.num_rows))
        self._family, self._ridge = problem.family, problem.ridge
        self._logits, self._labels = logits.to(dtype), labels.to(logits.device)
        weights = class_weights(contest.inputs.class_counts, settings.gamma)
        self._weights = weights.to(self._logits)
        is_plain = settings.reduction == "plain"
        self._divisor = float(len(labels) if is_plain else weights[labels].sum())

    def value(self, theta: Tensor) -> Tensor:
        """F at theta (P,) float64, differentiable."""
        scale, shift = (vector.to(self._logits) for vector in self._family.affine(theta))
        rectified = self._logits * scale + shift
        loss = cross_entropy(rectified, self._labels, weight=self._weights, reduction="sum")
        return loss.double().cpu() / self._divisor + self._ridge.value(theta)

    def value_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """F and its gradient (P,), by one forward and one backward pass."""
        leaf = theta.detach().clone().requires_grad_()
        value = self.value(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
        return value.item(), gradient
