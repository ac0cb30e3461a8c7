"""Methods with nothing to fit: scale and shift follow from the head alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from marr_pipeline.rectify.inputs import FitContext, FitInputs, HeadFacts
from marr_pipeline.rectify.method import ClosedForm, FitResult, Method
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.settings import RectifySettings

Warnings = Callable[[FitInputs, RectifySettings], tuple[str, ...]]


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


def _no_warnings(inputs: FitInputs, settings: RectifySettings) -> tuple[str, ...]:
    return ()


def _tau_norm_warnings(inputs: FitInputs, settings: RectifySettings) -> tuple[str, ...]:
    if inputs.bias is None and not settings.keep_bias:
        return ("no bias is known of this head, so none is taken out of the logits",)
    return ()


def _method(
    rule: ClosedForm, *, own_settings: tuple[str, ...] = (), warnings: Warnings = _no_warnings
) -> Method:
    def fit(inputs: FitInputs, settings: RectifySettings, context: FitContext) -> FitResult:
        scale, shift = rule(inputs.head, settings)
        return FitResult.closed_form(
            Rectifier(scale=scale, shift=shift), warnings=warnings(inputs, settings)
        )

    return Method(fit=fit, is_fitted=False, closed_form=rule, own_settings=own_settings)


SOFTMAX = _method(_softmax)
LOGIT_ADJUSTMENT = _method(_logit_adjustment, own_settings=("tau",))
TAU_NORM = _method(_tau_norm, own_settings=("tau", "keep_bias"), warnings=_tau_norm_warnings)
