"""Methods fitted in the affine core (`rectify.affine`): what each may choose of scale and shift."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from marr_pipeline.rectify.affine.family import AffineFamily
from marr_pipeline.rectify.affine.fit import fit_affine
from marr_pipeline.rectify.method import Family, Method
from marr_pipeline.rectify.methods.class_balance import CLASS_BALANCED, CLASS_BALANCED_SAMPLING


def _temperature(weight_norm: Tensor) -> AffineFamily:
    """logits / T; the parameter is 1/T, in which the loss is convex (Guo et al. 2017)."""
    return AffineFamily(num_classes=len(weight_norm), scale="shared")


def _vector_scaling(weight_norm: Tensor) -> AffineFamily:
    """a * logits + c (Guo et al. 2017): MARR with every norm 1."""
    return AffineFamily(
        num_classes=len(weight_norm), scale="per-class", shift_unit=torch.ones_like(weight_norm)
    )


def _lws(weight_norm: Tensor) -> AffineFamily:
    """s * logits, the bias scaled with the rest (Kang et al. 2020, as its code has it)."""
    return AffineFamily(num_classes=len(weight_norm), scale="per-class")


def _marr(weight_norm: Tensor) -> AffineFamily:
    """omega * logits + beta * weight_norm (paper, equations 8 to 10)."""
    return AffineFamily(
        num_classes=len(weight_norm), scale="per-class", shift_unit=weight_norm.double()
    )


def _method(family: Family, **presets: Mapping[str, Any]) -> Method:
    return Method(
        fit=partial(fit_affine, family), family=family, presets={"default": {}, **presets}
    )


TEMPERATURE = _method(_temperature)
VECTOR_SCALING = _method(_vector_scaling)
LWS = _method(_lws, paper=CLASS_BALANCED, official=CLASS_BALANCED_SAMPLING)
MARR = _method(_marr, paper={}, official={})
