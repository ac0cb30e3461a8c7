"""The settings that tuning tries, which of them is taken, and the record of it.

The settings that tuning starts from keep their place unless the best point of the grid beats them
by more than one standard error of the difference: among 90 points one is always ahead by chance.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

from marr_pipeline.names import AFFINE_CENTERS
from marr_pipeline.notebook import short_repr
from marr_pipeline.rectify.settings import Center, RectifySettings
from marr_pipeline.rectify.tuning.held_out import BalancedScores, Score

Source = Literal["tune", "cross-validation"]
"""Of the samples that choose: the split `tune`, or folds of the fitted split."""

TUNED = ("gamma", "l2", "center")
"""The settings that are tuned, by their names in `RectifySettings`."""

GAMMAS = (0.0, 0.4, 0.8, 1.0, 1.2, 1.6)
"""From no weighting to beyond the paper's 1.2; its Figure 4 has the same range."""
L2S = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""From a fifth of the paper's 5e-4 to what leaves logit adjustment's ranking alone."""


HEAD_L2S = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
"""Of a whole head, in units of the rows' mean square."""
HEAD_CENTERS: tuple[Center, ...] = ("zero", "class-means")
"""Of `head`. Which is better depends on the features: test NLL 1.47 and 1.44 on CIFAR-100-LT, 0.41
and 0.59 on CIFAR-10-LT (features of one ImageNet network), and folds of the training rows tell."""


def tuning_grid(
    settings: RectifySettings, *, fixed: Collection[str], has_shift: bool
) -> tuple[RectifySettings, ...]:
    """The settings with every combination of the values tried, their own always among them.

    Args:
        settings: the preset with the options that were given.
        fixed: names out of `TUNED` that keep the settings' value.
        has_shift: whether the method has shifts; without them a ridge to logit adjustment is
            one to the identity.
    """
    centers = AFFINE_CENTERS if has_shift else ("zero", "identity")
    tried: dict[str, tuple[Any, ...]] = {"gamma": GAMMAS, "l2": L2S, "center": centers}
    for name in TUNED:
        own = getattr(settings, name)
        tried[name] = (own,) if name in fixed else tuple(dict.fromkeys((*tried[name], own)))
    return tuple(
        replace(settings, gamma=gamma, l2=l2, center=center)
        for gamma in sorted(tried["gamma"])
        for center in tried["center"]
        for l2 in sorted(tried["l2"])
    )


def strength_grid(
    settings: RectifySettings, *, fixed: Collection[str]
) -> tuple[RectifySettings, ...]:
    """The settings with every centre and strength of a whole head's ridge tried.

    Centre by centre, the strongest first. Any centre but the default keeps its place, as do those
    of a plain probe, of tau 0, and of methods that have other authors.
    """
    is_open = settings.method == "head" and settings.known_tau > 0 and "center" not in fixed
    centers = HEAD_CENTERS if is_open and settings.center == "zero" else (settings.center,)
    own = settings.ridge
    tried = {own} if "l2" in fixed else {own, *HEAD_L2S}
    return tuple(
        replace(settings, center=center, l2=l2)
        for center in centers
        for l2 in sorted(tried, reverse=True)
    )


@dataclass(frozen=True, kw_only=True)
class ScoredPoint:
    """A point of the grid and its balanced score."""

    settings: RectifySettings
    score: float

    def record(self) -> dict[str, Any]:
        """`gamma`, `l2`, `center`, `score`."""
        return {**{name: getattr(self.settings, name) for name in TUNED}, "score": self.score}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was tried and what was chosen.

    Attributes:
        source: of the scored samples.
        score: what the points were scored by.
        num_folds: F; None where a split was held out.
        unscored_classes: classes without a held-out sample.
        grid: every point.
        start: the settings that tuning started from.
        best: the best point; of equals the one that shares most with `start`.
        standard_error: of the difference between the scores of `best` and `start`.
        chosen: `best`, or `start` if `best` is within one standard error of it.
    """

    __repr__ = short_repr

    source: Source
    score: Score
    num_folds: int | None
    unscored_classes: int
    grid: tuple[ScoredPoint, ...]
    start: ScoredPoint
    best: ScoredPoint
    standard_error: float
    chosen: ScoredPoint

    def summary(self) -> dict[str, Any]:
        """All but the grid, for JSON."""
        return {
            "source": self.source,
            "score": self.score,
            "folds": self.num_folds,
            "unscored_classes": self.unscored_classes,
            "points": len(self.grid),
            "start": self.start.record(),
            "best": self.best.record(),
            "standard_error": self.standard_error,
            "chosen": self.chosen.record(),
        }

    def record(self) -> dict[str, Any]:
        """`summary` with every point as `grid`."""
        return {**self.summary(), "grid": [scored.record() for scored in self.grid]}


def choose(
    grid: tuple[RectifySettings, ...],
    pooled: BalancedScores,
    *,
    start: int,
    score: Score,
    num_folds: int | None,
) -> Tuning:
    """Apply the rule of the module's docstring; `pooled` are the points' scores, in their order."""
    found = tuple(
        ScoredPoint(settings=point, score=value)
        for point, value in zip(grid, pooled.scores().tolist(), strict=True)
    )
    best = _best(found, grid[start], score)
    standard_error = pooled.standard_error(best)
    is_near = abs(found[best].score - found[start].score) <= standard_error
    return Tuning(
        source="tune" if num_folds is None else "cross-validation",
        score=score,
        num_folds=num_folds,
        unscored_classes=pooled.num_classes - pooled.num_scored_classes,
        grid=found,
        start=found[start],
        best=found[best],
        standard_error=standard_error,
        chosen=found[start if is_near else best],
    )


def _best(found: tuple[ScoredPoint, ...], start: RectifySettings, score: Score) -> int:
    """Index of the best score; of equals the one that shares most with `start`."""
    sign = 1.0 if score == "nll" else -1.0

    def num_shared(settings: RectifySettings) -> int:
        return sum(getattr(settings, name) == getattr(start, name) for name in TUNED)

    order = [(sign * scored.score, -num_shared(scored.settings)) for scored in found]
    return order.index(min(order))
