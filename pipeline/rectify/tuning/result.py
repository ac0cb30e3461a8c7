"""Which of the scored points is taken, and the record of it.

The settings that tuning starts from keep their place unless the best point of the grid beats them
by more than one standard error of the difference: among 90 points one is always ahead by chance.
"""

from dataclasses import dataclass
from typing import Any, Literal

from marr_pipeline.rectify.tuning.balanced import BalancedScores, Score
from marr_pipeline.rectify.tuning.grid import GridPoint

Source = Literal["tune", "cross-validation"]


@dataclass(frozen=True, kw_only=True)
class ScoredPoint:
    """A point of the grid and its balanced score."""

    point: GridPoint
    score: float

    def record(self) -> dict[str, Any]:
        """`gamma`, `l2`, `center`, `score`."""
        return {**self.point.record(), "score": self.score}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was tried and what was chosen.

    Attributes:
        source: the split `tune`, or folds of the fitted split.
        score: what the points were scored by.
        num_folds: F; None where a split was held out.
        unscored_classes: classes without a held-out sample.
        grid: every point.
        start: the settings that tuning started from.
        best: the best point; of equals the one that shares most with `start`.
        standard_error: of the difference between the scores of `best` and `start`.
        chosen: `best`, or `start` if `best` is within one standard error of it.
    """

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
    grid: tuple[GridPoint, ...],
    pooled: BalancedScores,
    *,
    start: int,
    score: Score,
    num_folds: int | None,
) -> Tuning:
    """Apply the rule of the module's docstring.

    Args:
        grid: the points.
        pooled: their held-out scores, in the same order, compared with `start`.
        start: index of the point that tuning starts from.
        score: what they were scored by.
        num_folds: F; None where the held-out samples are a split of their own.
    """
    found = tuple(
        ScoredPoint(point=point, score=value)
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


def _best(found: tuple[ScoredPoint, ...], start: GridPoint, score: Score) -> int:
    """Index of the best score; of equals the one that shares most with `start`."""
    sign = 1.0 if score == "nll" else -1.0
    order = [(sign * scored.score, -scored.point.num_shared(start)) for scored in found]
    return order.index(min(order))
