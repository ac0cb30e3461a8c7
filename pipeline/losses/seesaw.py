"""Seesaw loss, Wang et al. (2021), as used for classification."""

import math
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from marr_pipeline.losses.options import Exponent


def seesaw(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    progress: float,
    p: Exponent = 0.8,
    q: Exponent = 2.0,
    epsilon: Annotated[float, (1e-9, 1.0)] = 0.01,
    scale: Annotated[float, (0.0, 1e4)] = 0.0,
) -> Tensor:
    """Mean CE(eta + log S_y, y), S_ij = M_ij C_ij for j other than the label i, and S_ii = 1.

    M_ij = min(1, (N_j / N_i)^p) spares classes rarer than the label's, C_ij =
    max(1, P_j / max(P_i, epsilon))^q takes that back where they are mistaken for it; P is the
    softmax of eta and has no gradient. Arguments and result as for `Loss`, but `class_counts` is
    N, the images of each class that training has seen so far, this batch included.

    Options:
        p: exponent of M. This and q are those of LVIS; for ImageNet-LT none is published.
        q: exponent of C.
        epsilon: least P of the label.
        scale: of a head of cosines, 20 in released code; 0 leaves the plain linear head. The
            bias that is trained there has no place in it.
    """
    counts = class_counts.clamp(min=1)
    log_mitigation = (p * torch.log(counts / counts[labels, None])).clamp(max=0)
    log_probabilities = logits.detach().log_softmax(1)
    own = log_probabilities.gather(1, labels[:, None]).clamp(min=math.log(epsilon))
    log_compensation = (q * (log_probabilities - own)).clamp(min=0)
    # Both are 0 in the label's own column, but for a P of it below epsilon.
    factors = (log_mitigation + log_compensation).scatter(1, labels[:, None], 0.0)
    return cross_entropy(logits + factors, labels)
