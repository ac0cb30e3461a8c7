"""Scores in which every class counts alike, whatever its number of samples.

N samples, K classes, P rules (scale, shift) under comparison. With s_i the score of sample i and
n_j the scored samples of class j, over the C classes that have any,

    balanced score  = (1/C) sum_j (1/n_j) sum_{i: y_i = j} s_i.
"""

from typing import Literal

import torch
from torch import Tensor

from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rectifier import affine_logits

Score = Literal["nll", "accuracy"]

BLOCK_LOGITS = 2**22
"""Logits scored at a time: 32 MiB in float64."""


def sample_scores(held_out: FitInputs, scale: Tensor, shift: Tensor, score: Score) -> Tensor:
    """Score of each sample under scale (K,) and shift (K,), the mean over its views.

    Returns:
        (N,) float64: `nll`, the negative logarithm of the label's probability, or `accuracy`,
        1 where the largest rectified logit is the label's (the first of equals) and else 0.
    """
    logits, labels = held_out.rows()
    scale, shift = scale.to(logits.device), shift.to(logits.device)
    scores = torch.empty(len(labels), dtype=torch.float64)
    step = max(1, BLOCK_LOGITS // held_out.num_classes)
    for start in range(0, len(labels), step):
        rows = slice(start, start + step)
        rectified = affine_logits(logits[rows].double(), scale, shift)
        own = labels[rows, None].to(logits.device)
        if score == "nll":
            scores[rows] = rectified.logsumexp(1) - rectified.gather(1, own)[:, 0]
        else:
            scores[rows] = (rectified.argmax(1) == own[:, 0]).double()
    return scores.reshape(held_out.num_views, -1).mean(0)


class BalancedScores:
    """Balanced scores of P rules, pooled over the held-out samples of any number of rounds.

    Args:
        num_rules: P.
        num_classes: K.
        reference: the rule that the others are compared with.
    """

    def __init__(self, *, num_rules: int, num_classes: int, reference: int) -> None:
        self._reference = reference
        self._counts = torch.zeros(num_classes, dtype=torch.int64)
        # By rule and class: sums of the scores, of their surplus over the reference, and of its
        # squares.
        self._sums = torch.zeros((3, num_rules, num_classes), dtype=torch.float64)

    def add(self, labels: Tensor, scores: Tensor) -> None:
        """Pool the scores (P, N) of samples of classes labels (N,)."""
        self._counts += torch.bincount(labels, minlength=self.num_classes)
        surplus = scores - scores[self._reference]
        for sums, values in zip(self._sums, (scores, surplus, surplus**2), strict=True):
            sums.index_add_(1, labels, values)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self._counts)

    @property
    def num_scored_classes(self) -> int:
        """C."""
        return int((self._counts > 0).sum())

    def scores(self) -> Tensor:
        """(P,) float64 balanced scores."""
        scored = self._counts > 0
        return (self._sums[0][:, scored] / self._counts[scored]).mean(1)

    def standard_error(self, rule: int) -> float:
        """Of the difference between a rule's balanced score and the reference's.

        That of a mean of class means, sqrt(sum_j v_j / n_j) / C, with v_j the variance in class
        j of the samples' own differences. A class with one sample has no variance: it is given
        the mean of the others'; where no class has two, it is the variance between classes.
        """
        counts = self._counts[self._counts > 0].double()
        _, surplus, squares = self._sums[:, rule, self._counts > 0]
        deviations = (squares - surplus**2 / counts).clamp(min=0.0)
        several = counts > 1
        if bool(several.any()):
            variances = deviations / (counts - 1)
            variances[~several] = variances[several].mean()
        else:
            variances = surplus.var(correction=min(1, len(counts) - 1)).expand_as(counts)
        return float((variances / counts).sum().sqrt() / len(counts))
