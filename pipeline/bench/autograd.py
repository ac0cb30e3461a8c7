"""The objective as one writes it without us: `cross_entropy`, and autograd for its gradient.

F(theta) = (1/S) sum_i U_{y_i} CE(scale * x_i + shift, y_i) + R(theta), as in
`pipeline.rectify.problem`, over the same rows.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.rectify.affine import AffineFamily
from pipeline.rectify.ridge import Ridge
from pipeline.rectify.weighted_rows import Reduction


class AutogradObjective:
    """F as a differentiable function of theta.

    Args:
        logits: (R, K) in the arithmetic's dtype.
        labels: (R,) int64.
        class_weights: (K,).
        family: what theta means.
        ridge: R.
        reduction: `plain` or `weighted`.
    """

    def __init__(
        self,
        logits: Tensor,
        labels: Tensor,
        class_weights: Tensor,
        family: AffineFamily,
        ridge: Ridge,
        *,
        reduction: Reduction,
    ) -> None:
        self._logits = logits
        self._labels = labels.to(logits.device)
        self._weights = class_weights.to(logits)
        self._family = family
        self._ridge = ridge
        weight_sum = float(class_weights.double()[labels].sum())
        self._divisor = len(labels) if reduction == "plain" else weight_sum

    @property
    def dtype(self) -> torch.dtype:
        """Of the arithmetic over the rows."""
        return self._logits.dtype

    def __call__(self, theta: Tensor) -> Tensor:
        """F at theta (P,) float64 on the CPU; the ridge and the sum are float64."""
        scale, shift = (vector.to(self._logits) for vector in self._family.affine(theta))
        rectified = self._logits * scale + shift
        loss = cross_entropy(rectified, self._labels, weight=self._weights, reduction="sum")
        return loss.double().cpu() / self._divisor + self._ridge.value(theta)

    def value_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """F and its gradient (P,), by one forward and one backward pass."""
        leaf = theta.detach().clone().requires_grad_()
        value = self(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
        return value.item(), gradient
