"""A rectifier for the place that unlabelled rows are from, by what these tell of their classes.

R rows of N samples in some views, K classes, D features.
"""

from copy import copy

import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.groups import ABSENT_CLASS_IMAGES
from marr_pipeline.rectify.prior.calibration import calibrated
from marr_pipeline.rectify.prior.estimate import PriorEstimate, estimate_prior
from marr_pipeline.rectify.prior.target import with_prior
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.rows.source import Rows

BLOCK_LOGITS = 2**20
"""Of mean predictions at a time: 8 MiB in float64."""


class RectifiedRows(Rows):
    """Rectified logits of unlabelled rows, made anew for every block.

    Args:
        rectifier: as it was read.
        logits: (N, K) or (V, N, K) of the rows, as the rectifier takes them; None for a whole head.
        features: (N, D) or (V, N, D), the same.

    Attributes:
        num_samples: N.

    Raises:
        DataError: there are neither.
    """

    def __init__(
        self, rectifier: Rectifier, logits: Tensor | None, features: Tensor | None
    ) -> None:
        given = features if logits is None else logits
        if given is None:
            raise DataError("rows: logits, features or both expected, got neither; give them")
        self.rectifier, self.num_samples = rectifier, given.shape[-2]
        self.num_rows, self.num_classes = given.shape[:-1].numel(), rectifier.num_classes
        self.device = given.device
        self._logits = None if logits is None else logits.flatten(0, -2)
        self._features = None if features is None else features.flatten(0, -2)

    def block(self, rows: slice, *, into: Tensor | None = None) -> Tensor:
        """See `Rows.block`."""
        made = self._rectified(rows)
        return made if into is None else into.copy_(made)

    def take(self, indices: Tensor) -> Tensor:
        """See `Rows.take`."""
        return self._rectified(indices)

    def _rectified(self, rows: slice | Tensor) -> Tensor:
        logits = None if self._logits is None else self._logits[rows]
        features = None if self._features is None else self._features[rows]
        return self.rectifier.apply(logits, features)

    def by(self, rectifier: Rectifier) -> "RectifiedRows":
        """The same rows by another rectifier."""
        other = copy(self)
        other.rectifier = rectifier
        return other

    def mean_prediction(self) -> Tensor:
        """(K,) float64 mean of the probabilities."""
        total = torch.zeros(self.num_classes, dtype=torch.float64)
        step = max(1, BLOCK_LOGITS // self.num_classes)
        for start in range(0, self.num_rows, step):
            total += self.block(slice(start, start + step)).softmax(1).sum(0)
        return total / self.num_rows


def with_estimated_prior(rows: RectifiedRows) -> tuple[Rectifier, PriorEstimate]:
    """The rectifier of rows, calibrated and moved to their shares, and these.

    A class that no row speaks for counts as half a row: it is not ruled out.

    Raises:
        DataError: the rectifier has no calibration, there is one sample alone, or a logit is not
            finite.
    """
    if rows.num_samples == 1:
        raise DataError(
            "estimate: the rows of many samples expected, got one, which tells nothing of how "
            "often classes come; give them all, or shares that are known"
        )
    able, known = calibrated(rows.rectifier), rows.rectifier.calibration
    assert able.log_prior is not None
    assert known is not None
    found = estimate_prior(
        rows.by(able),
        able.log_prior,
        num_samples=rows.num_samples,
        num_labelled=known.num_rows,
    )
    least = torch.full_like(found.shares, ABSENT_CLASS_IMAGES / found.num_samples)
    return with_prior(able, torch.maximum(found.shares, least).log()), found
