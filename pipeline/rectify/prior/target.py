"""From the prior that a rectifier's probabilities stand for to the prior of another place.

K classes, p = the shares that softmax(rectified) stands for, q = those of the place where it is
used. Where the samples of each class are the same in both, Bayes' rule says

    rectified_q = rectified + log q - log p

(Saerens et al. 2002; post-compensated softmax, Hong et al. 2021). It is exact if the probabilities
are right under p: knowing q does not calibrate them.
"""

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.inputs import LEFT_OUT
from marr_pipeline.rectify.rectifier import Rectifier

AnyRectifier = TypeVar("AnyRectifier", bound=Rectifier)


def with_prior(rectifier: AnyRectifier, log_target: Tensor) -> AnyRectifier:
    """The same rectifier, its probabilities for another prior.

    A class of share 0 has probability 0: its offset is `LEFT_OUT`. That is its `log_prior` too, so
    that a second move undoes the first.

    Args:
        rectifier: whose prior is known.
        log_target: (K,) logarithms of the classes' shares, in any unit; -inf for a share of 0.

    Raises:
        DataError: the rectifier stands for no prior.
    """
    if rectifier.log_prior is None:
        raise DataError(
            f"target prior: a rectifier whose probabilities stand for a known class prior "
            f"expected, got one of {rectifier.method}, which says none; take another method, such "
            "as bcts, or fit again"
        )
    target = torch.log_softmax(log_target.double(), 0).clamp(min=LEFT_OUT)
    shift = rectifier.shift + target - rectifier.log_prior
    return replace(rectifier, shift=shift, log_prior=target)
