"""The affine core: which scales and shifts a method may choose, and how its numbers give them.

K classes, P parameters. A method's parameters theta (P,) give

    scale (K,) = base_scale + A theta        rectified logits = scale * logits + shift
    shift (K,) = base_shift + B theta

with constant A and B, so one objective, one gradient and one set of solvers serve all methods.
In A each class has its own parameter, or all share one; B is diagonal, with a unit per class
(the head's weight norm for MARR, 1 for vector scaling).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AffineFamily:
    """The pairs (scale, shift) that a method can reach.

    Args:
        num_classes: K.
        scale: `fixed` at 1, `shared` (one parameter) or `per-class` (K parameters).
        shift_unit: (K,) float64, the shift that one unit of each shift parameter makes; None
            if the shift is fixed at 0. A class with unit 0 keeps its parameter at 0.
    """

    num_classes: int
    scale: Literal["fixed", "shared", "per-class"]
    shift_unit: Tensor | None = None

    @property
    def num_scales(self) -> int:
        """How many of theta's leading entries are scales: 0, 1 or K."""
        return {"fixed": 0, "shared": 1, "per-class": self.num_classes}[self.scale]

    @property
    def num_parameters(self) -> int:
        """P."""
        return self.num_scales + (0 if self.shift_unit is None else self.num_classes)

    @property
    def free(self) -> Tensor:
        """(P,) bool: False where a parameter has no effect and is held at 0."""
        free = torch.ones(self.num_parameters, dtype=torch.bool)
        if self.shift_unit is not None:
            free[self.num_scales :] = self.shift_unit != 0
        return free

    def identity(self) -> Tensor:
        """theta (P,) of the unrectified logits."""
        return self.parameters(1.0, torch.zeros(self.num_classes, dtype=torch.float64))

    def parameters(self, scale: float, shift: Tensor) -> Tensor:
        """theta (P,) for one scale and a shift (K,); a shift the family cannot make becomes 0."""
        theta = torch.full((self.num_parameters,), scale, dtype=torch.float64)
        if self.shift_unit is not None:
            movable = self.shift_unit != 0
            unit = torch.where(movable, self.shift_unit, 1.0)
            theta[self.num_scales :] = torch.where(movable, shift / unit, 0.0)
        return theta

    def affine(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """scale (K,) and shift (K,) of theta (P,)."""
        scale, shift = self.direction(theta)
        return (torch.ones_like(scale) if self.num_scales == 0 else scale), shift

    def direction(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """A theta (K,) and B theta (K,): what a step theta (P,) does to scale and shift."""
        zeros = theta.new_zeros(self.num_classes)
        scale = theta[: self.num_scales].expand(self.num_classes) if self.num_scales else zeros
        shift = zeros if self.shift_unit is None else theta[self.num_scales :] * self.shift_unit
        return scale, shift

    def pull_back(self, scale_gradient: Tensor, shift_gradient: Tensor) -> Tensor:
        """Gradient in theta (P,): A^T scale_gradient + B^T shift_gradient."""
        if self.scale == "shared":
            scale_gradient = scale_gradient.sum(0, keepdim=True)
        parts = [scale_gradient] if self.num_scales else []
        if self.shift_unit is not None:
            parts.append(shift_gradient * self.shift_unit)
        return torch.cat(parts)

    def pull_back_hessian(self, scale: Tensor, mixed: Tensor, shift: Tensor) -> Tensor:
        """Hessian in theta (P, P) from its blocks (K, K); `mixed` has scales in its rows."""
        if self.scale == "shared":
            scale, mixed = scale.sum().reshape(1, 1), mixed.sum(0, keepdim=True)
        if self.shift_unit is None:
            return scale
        unit = self.shift_unit
        shift = unit[:, None] * shift * unit
        if not self.num_scales:
            return shift
        mixed = mixed * unit
        return torch.cat([torch.cat([scale, mixed], 1), torch.cat([mixed.T, shift], 1)])
