"""Some of the rows that a fit is made on, and their scores: what checks of fits look at.

N rows, K classes. However many rows there are, n of them are looked at, some of each class; each
stands for its share of all, so that a class counts as in all of them.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.report.scores import BLOCK_LOGITS, SampleScores, score_samples

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

LOOKED_AT = 4_096
"""Rows, spread over those of each class; of more classes one row each. At 115,846 x 1000 all checks
then take 4 % of the fit and its scores."""


@dataclass(frozen=True, kw_only=True)
class OwnRows:
    """Some rows of each class, of those that a fit is made on, in one view.

    Attributes:
        logits: (n, K) as stored.
        features: (n, D), if they are known.
        labels: (n,).
        share: (n,) of all rows, that each of these stands for.
        num_rows: N.
        class_counts: (K,) of the loss weights.
        log_prior: (K,) that the logits are said to stand for.
    """

    logits: Tensor
    features: Tensor | None
    labels: Tensor
    share: Floats
    num_rows: int
    class_counts: Tensor
    log_prior: Tensor

    @classmethod
    def of(cls, inputs: FitInputs, most: int = LOOKED_AT) -> "OwnRows":
        """About `most` at most, of the first view."""
        view = inputs.first_views(1)
        source, labels = view.source()
        rows = torch.from_numpy(some_of_each_class(labels.numpy(), most))
        chosen = labels[rows]
        stands_for = torch.bincount(labels).double() / torch.bincount(chosen).clamp(min=1)
        return cls(
            logits=source.take(rows).cpu(),
            features=None if view.features is None else view.features[0][rows].cpu(),
            labels=chosen,
            share=(stands_for[chosen] / len(labels)).numpy(),
            num_rows=len(labels),
            class_counts=inputs.weight_counts(),
            log_prior=inputs.log_prior,
        )

    def mean_prediction(self, shift: Tensor) -> Floats:
        """(K,) mean softmax of all rows, a shift (K,) added to their logits."""
        mean, shift = torch.zeros(len(shift)), shift.float()
        share, step = torch.from_numpy(self.share).float(), max(1, BLOCK_LOGITS // len(shift))
        for start in range(0, len(self.labels), step):
            part = slice(start, start + step)
            mean += share[part] @ (self.logits[part].float() + shift).softmax(1)
        return mean.double().numpy()

    @property
    def class_share(self) -> Floats:
        """(K,) of all rows."""
        shares = np.zeros(len(self.class_counts))
        np.add.at(shares, self.labels.numpy(), self.share)
        return shares

    def rectified(self, part: slice, rectifier: Rectifier | None) -> Tensor:
        """Logits (b, K) float64 of some of them; as they are without a rectifier."""
        if rectifier is None:
            return self.logits[part].double()
        features = None if self.features is None else self.features[part]
        return rectifier.apply(self.logits[part], features)

    @cached_property
    def softmax(self) -> SampleScores:
        """The scores of the logits as they are."""
        return self.scores(None)

    def scores(self, rectifier: Rectifier | None, shift: Tensor | float = 0.0) -> SampleScores:
        """Of rectified logits, a shift (K,) added to each."""
        return score_samples(
            lambda part: self.rectified(part, rectifier) + shift,
            self.labels,
            num_classes=len(self.class_counts),
        )


def some_of_each_class(labels: Counts, most: int) -> npt.NDArray[np.intp]:
    """Places, in order, of about `most` rows at most, spread over those of each class."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    step = np.maximum(-(-sizes // max(1, most // len(sizes))), 1)
    return np.sort(order[rank % np.repeat(step, sizes) == 0])
