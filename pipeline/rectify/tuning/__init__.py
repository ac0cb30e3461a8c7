"""Settings of a fit, chosen on samples that it has not seen: gamma, the ridge and its centre.

Of a whole head it is the ridge alone, each centre's strengths from the strongest to the weakest.

Every point of a grid is fitted on a training part and scored on held-out samples: on a split that
phase one never saw, or, where there is none, on each fold of the fitted split in turn. Held-out
samples of all rounds are pooled, so that a class with two images has a mean over both.

The score is balanced over classes (`balanced`), as the test split is. It is the negative
log-likelihood unless accuracy is asked for: with three held-out images a class's accuracy moves in
steps of a third and many points tie, where the likelihood tells any two apart; it also counts
confidence, which the ridge and its centre change more than they change the ranking.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.affine import AffineFamily, AffineProblem, build_ridge, starting_point
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.rows.folds import stratified_folds
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.rows.source import PickedRows, StoredLogits
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.strengths import with_strengths
from marr_pipeline.rectify.thinned import minimize_lbfgs
from marr_pipeline.rectify.tuning.choice import (
    TUNED,
    Source,
    Tuning,
    choose,
    strength_grid,
    tuning_grid,
)
from marr_pipeline.rectify.tuning.held_out import (
    BalancedScores,
    Rule,
    Score,
    affine_rule,
    head_rule,
    sample_scores,
)

TOLERANCE = 1e-6
"""On the gap bound of the grid's fits. It moved no score by more than 4e-4 (12,406 x 10, 4 views);
1e-4 moved some by 4e-3, a standard error between good points, for 0.8 of the time."""


@dataclass(frozen=True, kw_only=True)
class TuningOptions:
    """How settings are chosen.

    Attributes:
        score: `nll` (lower is better) or `accuracy`, balanced over classes.
        fixed: names out of `TUNED` that keep the value they have.
        num_folds: at most, where folds are needed; None for 5, and 3 of a whole head, whose fits
            take seconds.
    """

    score: Score = "nll"
    fixed: frozenset[str] = frozenset()
    num_folds: int | None = None

    def __post_init__(self) -> None:
        if self.score not in ("nll", "accuracy"):
            raise ConfigError(f"score: nll or accuracy expected, got {self.score}")
        if not self.fixed <= set(TUNED):
            unknown = ", ".join(sorted(self.fixed - set(TUNED)))
            raise ConfigError(f"fixed: names out of {', '.join(TUNED)} expected, got {unknown}")
        if self.num_folds is not None and self.num_folds < 2:
            raise ConfigError(f"num_folds: at least 2 expected, got {self.num_folds}")


@dataclass(frozen=True, kw_only=True)
class _Round:
    """What is fitted and what is scored, by numbers.

    Attributes:
        rows: (R,) int64 of the fitted inputs; None for all.
        held_out: (N,) int64 samples of the scored inputs.
    """

    rows: Tensor | None
    held_out: Tensor


def tune(
    inputs: FitInputs,
    scored: FitInputs,
    settings: RectifySettings,
    *,
    source: Source,
    options: TuningOptions,
    progress: Progress = silent,
    resources: Resources = UNLIMITED,
) -> Tuning:
    """Fit every point of the grid, score it on samples held out, and choose.

    By `cross-validation` the network has seen the scored samples, so it is surer of them than of
    new ones, and so are the scores. Classes with one sample are in every training part and not
    scored.

    Args:
        inputs: the rows of the final fit.
        scored: the scored views: of a split held out, or of the samples of `inputs`, in the same
            order.
        settings: of the method, and the point that tuning starts from; their seed deals the folds.
        source: `tune` fits all of `inputs`, `cross-validation` all folds but one, for each of the
            folds, and scores that one.
        options: how to choose.
        progress: told the fits.
        resources: bound on memory, and the processes that share the rows: each scores its own
            samples, and all of them choose by the same sums.

    Raises:
        ConfigError: the method has nothing to tune.
        DataError: no class has two samples to cross-validate with.
        FitError: the loss ran out of finite numbers.
    """
    method = METHODS[settings.method]
    family = None if method.family is None else method.family(inputs.weight_norm)
    if family is not None:
        on_line = replace(settings, center="tempered")  # one of the centres tried
        settings = replace(with_strengths(inputs, on_line, resources), center=settings.center)
        has_shift = family.shift_unit is not None
        grid = tuning_grid(settings, fixed=options.fixed, has_shift=has_shift)
    elif method.path is not None:
        grid = strength_grid(settings, fixed=options.fixed)
    else:
        lack = "nothing to tune" if not method.is_fitted else "more than scales and shifts to fit"
        raise ConfigError(
            f"--tune: a method that fits scales and shifts or a whole head expected, got "
            f"{settings.method}, which has {lack}; use --tune off"
        )
    start = grid.index(settings)
    pooled = BalancedScores(num_rules=len(grid), num_classes=inputs.num_classes, reference=start)
    if source == "tune":
        every = torch.arange(len(scored.labels))
        rounds = [_Round(rows=None, held_out=every)]
    else:
        num_folds = options.num_folds or (3 if family is None else 5)
        rounds = _leave_each_out(inputs, num_folds=num_folds, seed=settings.seed)
    for index, part in enumerate(rounds):
        begin, end = (
            len(part.held_out) * rank // resources.ranks.size
            for rank in (resources.ranks.rank, resources.ranks.rank + 1)
        )
        samples, scores = part.held_out[begin:end], []
        rules: Iterator[Rule]
        if family is not None:
            fits = _grid_fits(inputs, part, family, grid, resources)
            rules = (affine_rule(scored, *fit) for fit in fits)
        else:
            assert method.path is not None
            path = method.path
            rules = (
                head_rule(scored, head)
                for _, points in groupby(grid, key=attrgetter("center"))
                for head in path(inputs, tuple(points), part.rows, resources)
            )
        for rule in rules:
            scores.append(
                sample_scores(scored, samples, rule, options.score, memory=resources.memory)
            )
            progress(index * len(grid) + len(scores), len(rounds) * len(grid))
        pooled.add(scored.labels[samples], torch.stack(scores))
    pooled.gather(resources.ranks)
    return choose(
        grid,
        pooled,
        start=start,
        score=options.score,
        num_folds=None if source == "tune" else len(rounds),
    )


def _leave_each_out(inputs: FitInputs, *, num_folds: int, seed: int) -> list[_Round]:
    """One round a fold."""
    folds = stratified_folds(inputs.labels, num_folds=num_folds, seed=seed)
    if int(folds.max()) < 0:
        raise DataError(
            "cross-validation: a class with two samples or more expected, got one sample a class; "
            "give the cache a tune split, or choose settings by hand"
        )
    return [
        _Round(
            rows=(folds.repeat(inputs.num_views) != fold).nonzero()[:, 0],
            held_out=(folds == fold).nonzero()[:, 0],
        )
        for fold in range(int(folds.max()) + 1)
    ]


def _grid_fits(
    inputs: FitInputs,
    part: _Round,
    family: AffineFamily,
    grid: tuple[RectifySettings, ...],
    resources: Resources,
) -> Iterator[tuple[Tensor, Tensor]]:
    """scale (K,) and shift (K,) of each point's fit, by L-BFGS whatever the final optimizer."""
    source, labels = inputs.source()
    if part.rows is not None:
        # Fetched anew for every pass, rows cost a third more time than copied ones.
        is_copied = resources.memory is None and isinstance(inputs.logits, Tensor)
        labels = labels[part.rows]
        if is_copied:
            source = StoredLogits(source.take(part.rows))
        else:
            source = PickedRows(source, part.rows)
    gamma = None
    for point in grid:
        if point.gamma != gamma:
            gamma = point.gamma
            weights, _ = inputs.loss_weights(point, "instance", part.rows)
            loss = WeightedCrossEntropy(
                source, labels, weights, reduction=point.reduction, resources=resources
            )
        problem = AffineProblem(loss, family, build_ridge(family, point, inputs.log_prior))
        start = starting_point(problem, point)
        yield family.affine(minimize_lbfgs(problem, start, TOLERANCE).theta)
