"""TDE of Causal Norm (Tang et al. 2020), taken from its own head to the one of the cache.

With c the unit vector along the mean feature of the fitted rows, each sample loses alpha times its
part along c, so  logits' = W (z - alpha (z . c) c) + b:  a head W' = W (I - alpha c c^T), b' = b.
Tang et al. do this to a head that was trained on normalised features in parts; on a plain head it
is an experiment and not their method. Their mean is one over training's augmented images, as that
of the default `--fit-views augmented` is.

alpha is theirs where they state it (`protocols`). Elsewhere it is their rule of thumb, alpha times
the mean cosine of a feature with c is 1. All of them are meant for their head; on a plain one try
several `--alpha`.
"""

import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.protocols import protocol_of
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import FitResult, Method
from marr_pipeline.rectify.rectifier import HeadRectifier
from marr_pipeline.rectify.rows.source import FeatureRows
from marr_pipeline.rectify.settings import RectifySettings

BLOCK_ROWS = 2**14


def mean_direction(features: FeatureRows) -> tuple[Tensor, float]:
    """c (D,) float64, the unit vector along the mean of features (R, D), and their mean cosine.

    Raises:
        DataError: the mean is 0 and has no direction.
    """
    total = torch.zeros(features.num_features, dtype=torch.float64, device=features.device)
    blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, features.num_rows, BLOCK_ROWS)]
    for rows in blocks:
        total += features.block(rows, torch.float64).sum(0)
    norm = torch.linalg.vector_norm(total)
    if not float(norm) > 0:
        raise DataError(
            "features: a mean other than 0 expected for tde, which takes out its direction, got "
            "0; were these features centred?"
        )
    direction = total / norm
    cosine = 0.0
    for rows in blocks:
        block = features.block(rows, torch.float64)
        cosine += float(torch.nn.functional.normalize(block, dim=1).sum(0) @ direction)
    return direction.cpu(), cosine / features.num_rows


def _fit(inputs: FitInputs, settings: RectifySettings, context: FitContext) -> FitResult:
    if inputs.weight is None:
        raise DataError("weight: that of the head expected for tde, got none; give it too")
    weight = inputs.weight.double()
    rows = FeatureRows(inputs.feature_rows("tde"), unit=inputs.unit)
    direction, cosine = mean_direction(rows)
    alpha = settings.alpha
    if alpha is None:
        alpha = protocol_of(context.dataset).tde_alpha
    if alpha is None:
        alpha = 1 / cosine
    bias = torch.zeros(inputs.num_classes) if inputs.bias is None else inputs.bias
    return FitResult.closed_form(
        HeadRectifier(
            scale=torch.ones(inputs.num_classes, dtype=torch.float64),
            shift=torch.zeros(inputs.num_classes, dtype=torch.float64),
            weight=weight - alpha * torch.outer(weight @ direction, direction),
            bias=bias.double(),
            normalise="unit" if inputs.unit else "none",
            own={"alpha": torch.tensor(alpha, dtype=torch.float64), "direction": direction},
        )
    )


TDE = Method(
    fit=_fit, is_fitted=False, needs=("logits", "features", "weight"), own_settings=("alpha",)
)
