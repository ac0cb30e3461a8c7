"""What class counts say: loss weights (equation 12) and the prior.

K classes, n = class_counts (K,) of the training list, m = prior_counts (K,) that phase one saw.
"""

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError

ABSENT_CLASS_IMAGES = 0.5
"""Images that a class without any is given in the prior, so that its logarithm exists."""


def class_weights(class_counts: Tensor, gamma: float) -> Tensor:
    """Loss weights  U_j = K n_j^-gamma / sum_k n_k^-gamma  (equation 12).

    Args:
        class_counts: (K,) training images per class; a class without any gets weight 0 and
            does not count in K.
        gamma: 0 for no weighting; the paper's value is 1.2.

    Returns:
        (K,) float64 with mean 1 over the classes that have images.

    Raises:
        ConfigError: gamma is not a finite number, or so large that the weights overflow.
    """
    present = class_counts > 0
    relative = class_counts.double() / class_counts[present].double().min()
    powers = torch.where(present, relative.clamp(min=1.0) ** -gamma, 0.0)
    weights = present.sum() * powers / powers.sum()
    if not bool(torch.isfinite(weights).all()):
        raise ConfigError(f"--gamma: a finite exponent expected, got {gamma}; the paper uses 1.2")
    return weights


def log_prior(prior_counts: Tensor) -> Tensor:
    """Logarithm of the class prior (K,) float64; an absent class counts half an image."""
    counts = prior_counts.double().clamp(min=ABSENT_CLASS_IMAGES)
    return torch.log(counts / counts.sum())
