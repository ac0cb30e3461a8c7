"""Every post-hoc method, as what it may choose in the affine core (`affine`).

A method without parameters gives its rectifier in closed form; the others are fitted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.rectify.affine import AffineFamily

ClosedForm = Callable[[Tensor], tuple[Tensor, Tensor]]
"""log_prior (K,) to scale (K,) and shift (K,)."""
Family = Callable[[Tensor], AffineFamily]
"""weight_norm (K,) to what the method may choose."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Either `closed_form`, which is the rectifier, or `family`, to be fitted."""

    closed_form: ClosedForm | None = None
    family: Family | None = None


def _softmax(log_prior: Tensor) -> tuple[Tensor, Tensor]:
    """The classifier as it is."""
    return torch.ones_like(log_prior), torch.zeros_like(log_prior)


def _logit_adjustment(log_prior: Tensor) -> tuple[Tensor, Tensor]:
    """logits - log prior (Menon et al. 2021, tau = 1)."""
    return torch.ones_like(log_prior), -log_prior


def _temperature(weight_norm: Tensor) -> AffineFamily:
    """logits / T; the parameter is 1/T, in which the loss is convex (Guo et al. 2017)."""
    return AffineFamily(num_classes=len(weight_norm), scale="shared")


def _vector_scaling(weight_norm: Tensor) -> AffineFamily:
    """a * logits + c (Guo et al. 2017): MARR with every norm 1."""
    return AffineFamily(
        num_classes=len(weight_norm), scale="per-class", shift_unit=torch.ones_like(weight_norm)
    )


def _lws(weight_norm: Tensor) -> AffineFamily:
    """s * logits, the bias scaled with the rest (Kang et al. 2020, as its code has it).

    By class weights on all rows; the official class-balanced sampling has gamma 1 and the
    weighted mean as its expectation.
    """
    return AffineFamily(num_classes=len(weight_norm), scale="per-class")


def _marr(weight_norm: Tensor) -> AffineFamily:
    """omega * logits + beta * weight_norm (paper, equations 8 to 10)."""
    return AffineFamily(
        num_classes=len(weight_norm), scale="per-class", shift_unit=weight_norm.double()
    )


METHODS: dict[str, Method] = {
    "softmax": Method(closed_form=_softmax),
    "temperature": Method(family=_temperature),
    "logit-adjustment": Method(closed_form=_logit_adjustment),
    "vector-scaling": Method(family=_vector_scaling),
    "lws": Method(family=_lws),
    "marr": Method(family=_marr),
}
