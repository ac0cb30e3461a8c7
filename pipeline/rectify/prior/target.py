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
from marr_pipeline.rectify.inputs import LEFT_OUT, log_prior
from marr_pipeline.rectify.prior.calibration import calibrated
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier

AnyRectifier = TypeVar("AnyRectifier", bound=Rectifier)

SAME_SHARE = 0.01
"""Relative difference of two shares that are called one."""
NEAR_SHARE = 0.1
"""The same where shares are known approximately."""


def describe_prior(rectifier: Rectifier) -> str:
    """The prior that a rectifier's probabilities stand for, in words."""
    if rectifier.log_prior is None:
        return "no class prior"
    shares, counts = rectifier.log_prior.exp(), rectifier.metadata.get("class_counts")
    said = f"class shares of {100 * shares.min():.3g} to {100 * shares.max():.3g} %"
    apart = NEAR_SHARE if is_pulled(rectifier) else SAME_SHARE
    if _are_one(rectifier.log_prior, torch.ones_like(shares), apart):
        said = "the uniform prior"
    elif counts is not None and _are_one(rectifier.log_prior, torch.tensor(counts), apart):
        said = "the class shares of training"
    return f"{said}, approximately" if is_pulled(rectifier) else said


def is_pulled(rectifier: Rectifier) -> bool:
    """Whether a ridge kept a fit of scales and shifts from the prior that its rows ask for."""
    said = rectifier.metadata
    is_fitted = said.get("loss") is not None and not isinstance(rectifier, HeadRectifier)
    is_fitted = is_fitted and "calibrated_on" not in said
    return is_fitted and rectifier.log_prior is not None and float(said.get("l2", 0.0)) > 0


def _are_one(prior: Tensor, counts: Tensor, apart: float) -> bool:
    """Whether a prior (K,), in logarithms, is that of counts (K,)."""
    return torch.allclose(prior, log_prior(counts), rtol=0, atol=apart)


def with_prior(rectifier: AnyRectifier, log_target: Tensor) -> AnyRectifier:
    """The same rectifier, its probabilities for another prior.

    One that stands for none is calibrated first.

    A class of share 0 has probability 0: its offset is `LEFT_OUT`. That is its `log_prior` too, so
    that a second move undoes the first.

    Args:
        rectifier: whose prior is known.
        log_target: (K,) logarithms of the classes' shares, in any unit; -inf for a share of 0.

    Raises:
        DataError: the rectifier stands for no prior, and was not calibrated.
    """
    if rectifier.log_prior is None:
        try:
            rectifier = calibrated(rectifier)
        except DataError as error:
            raise DataError(
                f"target prior: a rectifier whose probabilities stand for a known class prior "
                f"expected, got one of {rectifier.method}, which says none; take another method, "
                f"such as bcts, or calibrate it ({error})"
            ) from error
    assert rectifier.log_prior is not None
    target = torch.log_softmax(log_target.double(), 0).clamp(min=LEFT_OUT)
    change = target - rectifier.log_prior
    known = rectifier.calibration
    return replace(
        rectifier,
        shift=rectifier.shift + change,
        log_prior=target,
        calibration=None if known is None else known.after(change),
    )
