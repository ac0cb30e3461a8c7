"""The rows of a cache that rectifiers are scored on, and the baselines that stand beside them.

N rows, K classes, D features.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.cache import Cache, CachedSplit
from marr_pipeline.groups import PAPER_CUTS, Cuts, parse_cuts
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.report.metrics import Metrics, measure
from marr_pipeline.report.population import Population
from marr_pipeline.report.scores import ClassAverages, SampleScores, class_averages, score_samples
from marr_pipeline.workflows.cached import head_facts, logits_of

if TYPE_CHECKING:
    from marr_pipeline.report.comparison import Scored


@dataclass(frozen=True, kw_only=True)
class EvaluationRows:
    """One view of a split, ready to be scored under any rectifier.

    Attributes:
        logits: (N, K); of no column where no head has made any.
        features: (N, D), if the cache has them.
        labels: (N,) int64.
        weight_norm: (K,) float64.
        class_counts: (K,) int64, of the training list.
        cuts: between the shot groups.
        cached: that they are of.
        split: as it is stored there.
    """

    logits: Tensor
    features: Tensor | None
    labels: Tensor
    weight_norm: npt.NDArray[np.float64]
    class_counts: npt.NDArray[np.int64]
    cuts: Cuts = PAPER_CUTS
    cached: Cache
    split: CachedSplit

    def scores(self, rectifier: Rectifier) -> SampleScores:
        """Prediction, confidence, loss and own logit of every sample, from centred shifts.

        Raises:
            DataError: the rectifier needs features, and there are none.
            CacheError: a row is not finite, or the file was written to meanwhile.
        """
        centred = rectifier.centred()
        found = score_samples(
            lambda rows: self.rectified(centred, rows),
            self.labels,
            num_classes=len(self.class_counts),
        )
        self.cached.require_unchanged()
        return found

    def rectified(self, rectifier: Rectifier, rows: slice = slice(None)) -> Tensor:
        """Logits (B, K) float64 of some of the samples; raises as `scores` does."""
        features = None if self.features is None else self.features[rows]
        found = rectifier.apply(self.logits[rows], features)
        if not bool(found.sum().isfinite()):
            self.split.refuse_not_finite()
        return found

    def metrics(self, rectifier: Rectifier, population: Population | None = None) -> Metrics:
        """Every number of the tables; without a population of the split as it is."""
        scores = self.scores(rectifier)
        return measure(scores, self.class_counts, population=population, cuts=self.cuts)

    def averages(self, rectifier: Rectifier, scores: SampleScores) -> ClassAverages:
        """Average logit and margin of each class, from the rectifier's `scores`."""
        norm = rectifier.margin_norm(torch.from_numpy(self.weight_norm))
        return class_averages(scores, margin_norm=norm.numpy(), class_counts=self.class_counts)

    def scored(self, fit: FitResult, settings: RectifySettings) -> "Scored":
        """A fit with all that a comparison asks of it."""
        from marr_pipeline.report.comparison import Scored  # loads scipy, which fits do without

        scores = self.scores(fit.rectifier)
        averages = self.averages(fit.rectifier, scores)
        return Scored(
            method=settings.method,
            status=str(fit.status),
            fit_split=None if fit.status is FitStatus.CLOSED_FORM else settings.fit_split,
            scores=scores,
            facts={
                "margin_correlation": averages.margin_correlation,
                "logit_correlation": averages.logit_correlation,
                "parameters": math.nan if fit.status is FitStatus.OWN else fit.num_parameters,
                "seconds": fit.seconds,
            },
        )


def evaluation_rows(cached: Cache, split: str, groups: str | None = None) -> EvaluationRows:
    """The clean view of a split; the first where none is clean.

    Features alone become logits = features @ weight.T + bias in float32, where there is a head.
    For `groups` see `parse_cuts`.

    Raises:
        CacheError: the cache lacks the split.
        ConfigError: no such groups.
    """
    rows = cached.split(split)
    view = rows.clean_view
    logits = torch.empty(rows.num_samples, 0)
    if cached.head is not None:
        one = slice(view, view + 1)
        made = logits_of(cached, cached.head, rows, one, None, torch.device("cpu"))
        logits = made[0] if isinstance(made, Tensor) else made.block(slice(0, made.num_rows))
    return EvaluationRows(
        logits=logits,
        features=None if rows.features is None else torch.from_numpy(rows.features[view]),
        labels=torch.from_numpy(rows.labels),
        weight_norm=head_facts(cached).weight_norm.numpy(),
        class_counts=cached.class_counts,
        cuts=parse_cuts(groups, cached.class_counts),
        cached=cached,
        split=rows,
    )


def closed_form(cached: Cache, method: str) -> Rectifier:
    """`softmax` or `logit-adjustment`: what every report shows beside a fit."""
    rule = METHODS[method].closed_form
    assert rule is not None
    found = rule(head_facts(cached), RectifySettings(method=method))
    return replace(found, metadata={"method": method})
