"""A rectifier in the head itself, where it costs nothing, or as one more step behind the features.

N samples, K classes, D features. What is affine in the features is a linear head again:

    W'_j = scale_j W_j,    b'_j = scale_j b_j + shift_j.

What is not, a confidence of every sample (DisAlign) and features that are brought to length 1, is a
module with that step in it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.rectifier import (
    ConfidenceRectifier,
    FunctionRectifier,
    HeadRectifier,
    Rectifier,
    affine_logits,
    mixed_logits,
)


def folded(rectifier: Rectifier, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """W' (K, D) and b' (K,), float64; a whole head brings its own W and b.

    Args:
        rectifier: of this head.
        weight: (K, D).
        bias: (K,); None for zeros.

    Raises:
        DataError: another shape of head, or a rectifier that is not affine in the features.
    """
    if isinstance(rectifier, HeadRectifier) and rectifier.normalise == "unit":
        raise DataError(
            "fold: a rectifier that is affine in the features expected, got a head for features of "
            "length 1; bring them to it before this layer, or fit with normalise standard"
        )
    if isinstance(rectifier, ConfidenceRectifier | FunctionRectifier):
        raise DataError(
            f"fold: a rectifier that is affine in the features expected, got {rectifier.method}, "
            "which is not; apply it to logits and features"
        )
    num_classes, num_features = weight.shape
    wanted = (rectifier.num_classes, rectifier.num_features or num_features)
    if (num_classes, num_features) != wanted:
        raise DataError(
            f"fold: a linear layer of weight {wanted} expected, as the rectifier's head, got "
            f"{(num_classes, num_features)}"
        )
    if isinstance(rectifier, HeadRectifier):
        weight, bias = rectifier.weight, rectifier.bias
    weight = weight.detach().cpu().double()
    bias = weight.new_zeros(num_classes) if bias is None else bias.detach().cpu().double()
    return rectifier.scale[:, None] * weight, affine_logits(bias, rectifier.scale, rectifier.shift)


def fold_(linear: nn.Linear, rectifier: Rectifier) -> nn.Linear:
    """Put a rectifier into the head whose logits it was fitted on, in place.

    Args:
        linear: D -> K; one without a bias is given one.
        rectifier: of this head.

    Returns:
        `linear` itself.

    Raises:
        DataError: no linear layer, or as `folded`.
    """
    if not isinstance(linear, nn.Linear):
        raise DataError(
            f"fold: a linear layer expected, got {type(linear).__name__}; give the head itself"
        )
    old_bias: Tensor | None = linear.bias
    weight, bias = folded(rectifier, linear.weight, old_bias)
    if old_bias is None:
        linear.bias = nn.Parameter(linear.weight.new_zeros(len(bias)))
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear


class RectifiedHead(nn.Module):
    """Rectified logits (N, K) of features (N, D) in float32, by any kind of rectifier.

    Args:
        rectifier: what is affine in it is folded into `linear`.
        weight: (K, D) of the head that made the logits; None for a whole head, which has its own.
        bias: (K,) of that head; None for zeros.
        unit: whether that head divides the features by their lengths itself.
    """

    def __init__(
        self,
        rectifier: Rectifier,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        *,
        unit: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(rectifier, HeadRectifier):
            weight, bias, unit = rectifier.weight, rectifier.bias, rectifier.normalise == "unit"
        assert weight is not None
        ones = torch.ones(len(weight), dtype=torch.float64)
        inner = Rectifier(scale=rectifier.scale, shift=rectifier.shift)
        self.confidence: nn.Linear | None = None
        if isinstance(rectifier, ConfidenceRectifier):
            inner = Rectifier(scale=ones, shift=0 * ones)
            self.confidence = _linear(rectifier.confidence_weight[None], rectifier.confidence_bias)
            self.register_buffer("scale", rectifier.scale.float())
            self.register_buffer("shift", rectifier.shift.float())
        self.linear = _linear(*folded(inner, weight, bias))
        self.unit = unit

    scale: Tensor
    shift: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) to (N, K)."""
        given = features
        if self.unit:  # by the largest entry first, so that no square leaves the range
            largest = given.abs().amax(-1, keepdim=True)
            given = normalize(given / largest.clamp(min=torch.finfo(torch.float32).tiny), dim=-1)
        logits: Tensor = self.linear(given)
        if self.confidence is None:
            return logits
        new = affine_logits(logits, self.scale, self.shift)
        return mixed_logits(logits, new, self.confidence(features)[:, 0])


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """The layer of a weight (K, D) and a bias (K,), in float32."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")  # draws nothing
    layer.weight = nn.Parameter(weight.float(), requires_grad=False)
    layer.bias = nn.Parameter(bias.float(), requires_grad=False)
    return layer
