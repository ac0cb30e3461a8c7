"""A rectifier put into the linear head whose logits it was fitted on: W' z + b' at no cost.

K classes, D features, head W (K, D), b (K,).
"""

import torch
from torch import Tensor, nn

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.rectifier import ConfidenceRectifier, HeadRectifier, Rectifier


def fold_(linear: nn.Linear, rectifier: Rectifier) -> nn.Linear:
    """W'_j = scale_j W_j, b'_j = scale_j b_j + shift_j, in place; a whole head brings its W and b.

    Args:
        linear: D -> K; one without a bias is given one.
        rectifier: of this head.

    Returns:
        `linear` itself.

    Raises:
        DataError: another shape of head, or a rectifier that is not affine in the features.
    """
    if isinstance(rectifier, ConfidenceRectifier):
        raise DataError(
            f"fold: a rectifier that is affine in the features expected, got {rectifier.method}, "
            "whose confidence is another for every sample; apply it to logits and features"
        )
    num_classes, num_features = linear.weight.shape
    wanted = (rectifier.num_classes, rectifier.num_features or num_features)
    if (num_classes, num_features) != wanted:
        raise DataError(
            f"fold: a linear layer of weight {wanted} expected, as the rectifier's head, got "
            f"{(num_classes, num_features)}"
        )
    old_bias: Tensor | None = linear.bias
    if isinstance(rectifier, HeadRectifier):
        weight, bias = rectifier.weight, rectifier.bias
    else:
        weight = linear.weight.detach().cpu().double()
        bias = weight.new_zeros(num_classes)
        if old_bias is not None:
            bias = old_bias.detach().cpu().double()
    if old_bias is None:
        linear.bias = nn.Parameter(linear.weight.new_zeros(num_classes))
    with torch.no_grad():
        linear.weight.copy_(rectifier.scale[:, None] * weight)
        linear.bias.copy_(rectifier.scale * bias + rectifier.shift)
    return linear
