"""Every post-hoc method, as what it may choose in the affine core (`affine`).

A method without free parameters gives its rectifier in closed form; the others are fitted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.rectify.affine import AffineFamily
from pipeline.rectify.head import HeadFacts
from pipeline.rectify.settings import RectifySettings

OWN_SETTINGS = ("tau", "keep_bias")

ClosedForm = Callable[[HeadFacts, RectifySettings], tuple[Tensor, Tensor]]
"""Scale (K,) and shift (K,)."""
Family = Callable[[Tensor], AffineFamily]
"""weight_norm (K,) to what the method may choose."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Either `closed_form`, which is the rectifier, or `family`, to be fitted.

    Attributes:
        closed_form: scale and shift from the head alone.
        family: what a fit may choose.
        own_settings: settings that only methods which name them heed, out of `OWN_SETTINGS`.
    """

    closed_form: ClosedForm | None = None
    family: Family | None = None
    own_settings: tuple[str, ...] = ()


def _softmax(head: HeadFacts, settings: RectifySettings) -> tuple[Tensor, Tensor]:
    """The classifier as it is."""
    return torch.ones_like(head.log_prior), torch.zeros_like(head.log_prior)


def _logit_adjustment(head: HeadFacts, settings: RectifySettings) -> tuple[Tensor, Tensor]:
    """logits - tau log prior (Menon et al. 2021)."""
    return torch.ones_like(head.log_prior), -settings.tau * head.log_prior


def _tau_norm(head: HeadFacts, settings: RectifySettings) -> tuple[Tensor, Tensor]:
    """W_j / |W_j|^tau without the bias (Kang et al. 2020), or with the bias scaled alike.

    A class with a zero row keeps its scale: without its bias its logit is 0 at any.
    """
    norm = torch.where(head.weight_norm > 0, head.weight_norm, 1.0).double()
    scale = norm**-settings.tau
    if settings.keep_bias or head.bias is None:
        return scale, torch.zeros_like(scale)
    return scale, -scale * head.bias.double()


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
    "logit-adjustment": Method(closed_form=_logit_adjustment, own_settings=("tau",)),
    "vector-scaling": Method(family=_vector_scaling),
    "lws": Method(family=_lws),
    "tau-norm": Method(closed_form=_tau_norm, own_settings=("tau", "keep_bias")),
    "marr": Method(family=_marr),
}
