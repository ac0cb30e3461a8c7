"""Scores of samples held out, in which every class counts alike.

N samples, K classes, P rules, each from rows to logits. With s_i the score of sample i and n_j the
scored samples of class j, over the C classes that have any,

    balanced score  = (1/C) sum_j (1/n_j) sum_{i: y_i = j} s_i.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from marr_pipeline.distributed import Ranks
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rectifier import HeadRectifier, affine_logits
from marr_pipeline.rectify.rows.source import FeatureRows

Score = Literal["nll", "accuracy"]

Rule = Callable[[Tensor], Tensor]
"""Numbers (B,) int64 of rows to their logits (B, K) float64, for balanced classes."""

BLOCK_LOGITS = 2**22
"""Logits scored at a time: 32 MiB in float64."""
LOGIT_BYTES = 32
"""What one of them takes, with what is made of it."""


def affine_rule(held_out: FitInputs, scale: Tensor, shift: Tensor) -> Rule:
    """Logits of the rows under scale (K,) and shift (K,)."""
    source, _ = held_out.source()
    scale, shift = scale.to(source.device), shift.to(source.device)
    return lambda rows: affine_logits(source.take(rows).double(), scale, shift)


def head_rule(held_out: FitInputs, head: HeadRectifier) -> Rule:
    """Logits of the rows under a whole head, less the prior that they stand for; in float32."""
    features = held_out.feature_rows("a whole head")
    rows = FeatureRows(features, unit=head.normalise == "unit")
    weight = head.weight.to(rows.device, torch.float32)
    bias = head.bias if head.log_prior is None else head.bias - head.log_prior
    bias = bias.to(weight)

    def logits(of: Tensor) -> Tensor:
        block = rows.block(of.to(rows.device), torch.float32)
        return torch.addmm(bias, block, weight.T).double()

    return logits


def sample_scores(
    held_out: FitInputs,
    samples: Tensor,
    rule: Rule,
    score: Score,
    *,
    memory: int | None = None,
) -> Tensor:
    """Score of some samples (N,) int64 under a rule, the mean over their views.

    Args:
        held_out: the rows, of which a block at a time is made.
        samples: their numbers.
        rule: from rows to logits.
        score: `nll`, the negative logarithm of the label's probability, or `accuracy`, 1 where the
            largest rectified logit is the label's (the first of equals) and else 0.
        memory: bytes that a block may take; None for 32 MiB of logits.

    Returns:
        (N,) float64.
    """
    labels = held_out.labels.repeat(held_out.num_views)
    most = BLOCK_LOGITS if memory is None else min(BLOCK_LOGITS, memory // LOGIT_BYTES)
    views = torch.arange(held_out.num_views)[:, None] * len(held_out.labels)
    scores = torch.empty(len(samples), dtype=torch.float64)
    step = max(1, most // (held_out.num_classes * held_out.num_views))
    for start in range(0, len(samples), step):
        rows = (views + samples[start : start + step]).flatten()
        rectified = rule(rows)
        own = labels[rows, None].to(rectified.device)
        if score == "nll":
            found = rectified.logsumexp(1) - rectified.gather(1, own)[:, 0]
        else:
            found = (rectified.argmax(1) == own[:, 0]).double()
        scores[start : start + step] = found.reshape(held_out.num_views, -1).mean(0)
    return scores


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

    def gather(self, ranks: Ranks) -> None:
        """Pool what every process added of its own samples: all of them hold the same sums."""
        self._counts = ranks.gather(self._counts).sum(0)
        self._sums = ranks.gather(self._sums).sum(0)

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
