"""Margins of a linear head and their rectification.

N samples, K classes. z = logits (N, K), s = weight_norm (K,), m = z / s = margins.
The rectified logit of class k is  s_k (omega_k m_k + beta_k) = omega_k z_k + beta_k s_k
(paper, equations 8 to 10), which is affine in z: one scale and one shift a class. The division by
s cancels and is never done.
"""

import torch
from torch import Tensor


def margins(logits: Tensor, weight_norm: Tensor) -> Tensor:
    """Signed distance of each sample to each class plane (equation 4).

    Args:
        logits: (N, K).
        weight_norm: (K,) L2 norm of each row of the head's weight, bias not included.

    Returns:
        (N, K); infinite or NaN in the column of a class whose norm is 0.
    """
    return logits / weight_norm


def affine_logits(logits: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The form every rectifier of the affine core has: scale (K,) * logits (N, K) + shift (K,)."""
    return scale * logits + shift


def mixed_logits(logits: Tensor, new: Tensor, raw_confidence: Tensor) -> Tensor:
    """logits + sigmoid(raw_confidence) * (new - logits): (..., K), one confidence (...) a row."""
    return torch.lerp(logits, new, torch.sigmoid(raw_confidence)[..., None])
