"""The affine core: which scales and shifts a method may choose, and how its numbers give them.

K classes, P parameters. A method's parameters theta (P,) give

    scale (K,) = base_scale + A theta        rectified logits = scale * logits + shift
    shift (K,) = base_shift + B theta

with constant A and B, so one objective, one gradient and one set of solvers serve all methods.
In A each class has its own parameter, or all share one; B is diagonal, with a unit per class
(the head's weight norm for MARR, 1 for vector scaling). Where logits are scaled about a pivot, as
by a scale on W that leaves the bias alone, B also has -pivot A. With the data term L of
`objective` and the quadratic R of `ridge`, F(theta) = L(scale(theta), shift(theta)) + R(theta) is
convex.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from marr_pipeline.optim.ridge import Ridge
from marr_pipeline.optim.solvable import Evaluation, Point
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.problem import CurvedProblem
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.settings import RectifySettings, Sampling


@dataclass(frozen=True, kw_only=True)
class AffineFamily:
    """The pairs (scale, shift) that a method can reach.

    Args:
        num_classes: K.
        scale: `fixed` at 1, `shared` (one parameter) or `per-class` (K parameters).
        shift_unit: (K,) float64, the shift that one unit of each shift parameter makes; None
            if the shift is fixed at 0. A class with unit 0 keeps its parameter at 0.
        shares_shift: whether one parameter makes the shifts of all classes.
        pivot: (K,) float64, the logits that no scale moves: scale * (logits - pivot) + pivot; None
            for 0.
    """

    num_classes: int
    scale: Literal["fixed", "shared", "per-class"]
    shift_unit: Tensor | None = None
    shares_shift: bool = False
    pivot: Tensor | None = None

    @property
    def num_scales(self) -> int:
        """How many of theta's leading entries are scales: 0, 1 or K."""
        return {"fixed": 0, "shared": 1, "per-class": self.num_classes}[self.scale]

    @property
    def num_parameters(self) -> int:
        """P."""
        if self.shift_unit is None:
            return self.num_scales
        return self.num_scales + (1 if self.shares_shift else self.num_classes)

    @property
    def free(self) -> Tensor:
        """(P,) bool: False where a parameter has no effect and is held at 0."""
        free = torch.ones(self.num_parameters, dtype=torch.bool)
        if self.shift_unit is not None:
            moves = self.shift_unit != 0
            free[self.num_scales :] = moves.any() if self.shares_shift else moves
        return free

    def identity(self) -> Tensor:
        """theta (P,) of the unrectified logits."""
        return self.parameters(1.0, torch.zeros(self.num_classes, dtype=torch.float64))

    def parameters(self, scale: float, shift: Tensor) -> Tensor:
        """theta (P,) for one scale and a shift (K,); a shift the family cannot make becomes 0.

        Where one parameter makes all, it is the nearest that it can make.
        """
        theta = torch.full((self.num_parameters,), scale, dtype=torch.float64)
        if self.shift_unit is not None and self.shares_shift:
            length = float(self.shift_unit @ self.shift_unit)
            theta[-1] = self.shift_unit @ shift / length if length > 0 else 0.0
        elif self.shift_unit is not None:
            movable = self.shift_unit != 0
            unit = torch.where(movable, self.shift_unit, 1.0)
            theta[self.num_scales :] = torch.where(movable, shift / unit, 0.0)
        return theta

    def affine(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """scale (K,) and shift (K,) of theta (P,)."""
        scale, shift = self.direction(theta)
        if self.num_scales == 0:
            return torch.ones_like(scale), shift
        return scale, shift if self.pivot is None else shift + self.pivot

    def direction(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """A theta (K,) and B theta (K,): what a step theta (P,) does to scale and shift."""
        zeros = theta.new_zeros(self.num_classes)
        scale = theta[: self.num_scales].expand(self.num_classes) if self.num_scales else zeros
        shift = zeros if self.shift_unit is None else theta[self.num_scales :] * self.shift_unit
        return scale, shift if self.pivot is None else shift - self.pivot * scale

    def pull_back(self, scale_gradient: Tensor, shift_gradient: Tensor) -> Tensor:
        """Gradient in theta (P,): A^T scale_gradient + B^T shift_gradient."""
        if self.pivot is not None:
            scale_gradient = scale_gradient - self.pivot * shift_gradient
        if self.scale == "shared":
            scale_gradient = scale_gradient.sum(0, keepdim=True)
        parts = [scale_gradient] if self.num_scales else []
        if self.shift_unit is not None:
            by_class = shift_gradient * self.shift_unit
            parts.append(by_class.sum(0, keepdim=True) if self.shares_shift else by_class)
        return torch.cat(parts)

    def pull_back_hessian(self, scale: Tensor, mixed: Tensor, shift: Tensor) -> Tensor:
        """Hessian in theta (P, P) from its blocks (K, K); `mixed` has scales in its rows."""
        if self.pivot is not None:
            crossed = mixed * self.pivot
            scale = scale - crossed - crossed.T + self.pivot[:, None] * shift * self.pivot
            mixed = mixed - self.pivot[:, None] * shift
        if self.scale == "shared":
            scale, mixed = scale.sum().reshape(1, 1), mixed.sum(0, keepdim=True)
        if self.shift_unit is None:
            return scale
        unit = self.shift_unit
        shift = unit[:, None] * shift * unit
        if self.shares_shift:
            shift = shift.sum().reshape(1, 1)
        if not self.num_scales:
            return shift
        mixed = mixed * unit
        if self.shares_shift:
            mixed = mixed.sum(1, keepdim=True)
        return torch.cat([torch.cat([scale, mixed], 1), torch.cat([mixed.T, shift], 1)])


Family = Callable[[Tensor], AffineFamily]
"""weight_norm (K,) to what the method may choose."""


class AffineProblem(CurvedProblem[WeightedCrossEntropy]):
    """F of the module's docstring, as a solver sees it.

    Args:
        loss: L.
        family: which scales and shifts are reachable.
        ridge: R; its centre is 0 where a parameter is not free.
        progress: told each pass, with the loss and what it certifies.
    """

    def __init__(
        self,
        loss: WeightedCrossEntropy,
        family: AffineFamily,
        ridge: Ridge,
        *,
        progress: Progress = silent,
    ) -> None:
        super().__init__(loss, ridge, free=family.free, progress=progress)
        self.family = family

    @property
    def hessian_width(self) -> int:
        """2K: scales and shifts are taken together."""
        return 2 * self.num_classes

    def hessian(self, theta: Tensor) -> Tensor:
        """See `CurvedProblem.hessian`."""
        if len(theta) == 1:  # its one column is a product, at a pass in place of K of them
            return self.hessian_product(theta, torch.ones_like(theta))[:, None]
        return super().hessian(theta)

    def hessian_product(self, theta: Tensor, step: Tensor) -> Tensor:
        """Hessian at theta (P,) times step (P,): one pass."""
        self.count_pass()
        point, direction = self.family.affine(theta), self.family.direction(step)
        product = self.family.pull_back(*self.loss.hessian_product(*point, *direction))
        return torch.where(self.free, product + self.ridge.hessian_product(step), 0.0)

    def has_no_minimum(self, point: Point) -> bool:
        """See `Solvable`; shifts alone cannot scale the logits up."""
        return self.family.num_scales > 0 and super().has_no_minimum(point)

    def is_unbounded(self, point: Point) -> bool:
        """See `Solvable`; shifts alone cannot scale the logits up."""
        return self.family.num_scales > 0 and super().is_unbounded(point)

    def _data(self, theta: Tensor, *, precise: bool) -> Evaluation:
        data = self.loss.evaluate(*self.family.affine(theta), precise=precise)
        return replace(data, gradient=self.family.pull_back(*data.gradient))

    def _data_hessian(self, theta: Tensor) -> Tensor:
        return self.family.pull_back_hessian(*self.loss.hessian(*self.family.affine(theta)))

    def _is_separated(self, theta: Tensor) -> bool:
        # Along theta, in which a pivot does not grow.
        return self.loss.is_separated(*self.family.direction(theta))


def build_problem(
    inputs: FitInputs,
    settings: RectifySettings,
    family: AffineFamily,
    *,
    sampling: Sampling = "instance",
    resources: Resources = UNLIMITED,
    progress: Progress = silent,
) -> AffineProblem:
    """F of the settings over all rows of the inputs.

    Args:
        inputs: the rows.
        settings: gamma, reduction, centre, and strengths, all known.
        family: what the method may choose.
        sampling: how rows are drawn, where F is what a batch has in expectation.
        resources: see `WeightedRows`, also for errors.
        progress: told the passes.
    """
    weights, reduction = inputs.loss_weights(settings, sampling)
    loss = WeightedCrossEntropy(*inputs.source(), weights, reduction=reduction, resources=resources)
    ridge = build_ridge(family, settings, inputs.log_prior)
    return AffineProblem(loss, family, ridge, progress=progress)


def build_ridge(family: AffineFamily, settings: RectifySettings, log_prior: Tensor) -> Ridge:
    """The ridge of the settings, for the parameters theta (P,) of a family.

    It pulls to `zero` as weight decay does, to `identity`, the unrectified logits, to
    `logit-adjustment`, scale 1 and shift mean(log prior) - log prior, or to `tempered`, scale s and
    s + m (1 - s) times that shift for any s, with m how far the rows are memorised: logit
    adjustment at any temperature, of which a share m is done after tempering. The ridge on s is
    counted in log K, the loss of a classifier that knows nothing. With l2 = 0 there is no ridge.

    Args:
        family: its parameters.
        settings: with `l2` known, and of `tempered` `scale_l2` too; see `strengths`.
        log_prior: (K,) of phase one.
    """
    adjustment = log_prior.mean() - log_prior
    if settings.center == "tempered" and settings.ridge > 0 and family.num_scales:
        assert settings.scale_l2 is not None
        memorised = settings.memorised or 0.0
        return Ridge(
            l2=settings.ridge,
            center=family.parameters(1.0, (1 - memorised) * adjustment),
            origin=family.parameters(0.0, memorised * adjustment),
            scale_l2=settings.scale_l2 * math.log(max(family.num_classes, 2)),
        )
    if settings.center == "zero":
        center = torch.zeros(family.num_parameters, dtype=torch.float64)
    elif settings.center == "identity":
        center = family.identity()
    else:
        center = family.parameters(1.0, adjustment)
    return Ridge(l2=settings.ridge, center=center)


def starting_point(problem: AffineProblem, settings: RectifySettings) -> Tensor:
    """theta (P,) where a fit begins: logit adjustment if that is what it is pulled to."""
    if settings.center not in ("logit-adjustment", "tempered"):
        return problem.family.identity()
    ridge = problem.ridge
    return ridge.center if ridge.origin is None else ridge.origin + ridge.center
