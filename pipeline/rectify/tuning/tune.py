"""gamma, the ridge and its centre, chosen on samples that the fit has not seen.

Every point of a grid is fitted on a training part and scored on held-out samples: on a split that
phase one never saw (`tune_on_split`), or, where there is none, on each fold of the fitted split in
turn (`cross_validate`). Held-out samples of all rounds are pooled, so that a class with two images
has a mean over both.

The score is balanced over classes (`balanced`), as the test split is. It is the negative
log-likelihood unless accuracy is asked for: with three held-out images a class's accuracy moves in
steps of a third and many points tie, where the likelihood tells any two apart; it also counts
confidence, which the ridge and its centre change more than they change the ranking.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.affine import AffineFamily, AffineProblem, build_ridge, starting_point
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.thinned import minimize_lbfgs
from marr_pipeline.rectify.tuning.balanced import BalancedScores, Score, sample_scores
from marr_pipeline.rectify.tuning.folds import stratified_folds
from marr_pipeline.rectify.tuning.grid import TUNED, GridPoint, tuning_grid
from marr_pipeline.rectify.tuning.result import Source, Tuning, choose
from marr_pipeline.rectify.weighting import class_weights

TOLERANCE = 1e-6
"""On the gap bound of the grid's fits. It moved no score by more than 4e-4 (12,406 x 10, 4 views);
1e-4 moved some by 4e-3, a standard error between good points, for 0.8 of the time."""


@dataclass(frozen=True, kw_only=True)
class TuningOptions:
    """How settings are chosen.

    Attributes:
        score: `nll` (lower is better) or `accuracy`, balanced over classes.
        fixed: names out of `grid.TUNED` that keep the value they have.
        num_folds: at most, where folds are needed.
    """

    score: Score = "nll"
    fixed: frozenset[str] = frozenset()
    num_folds: int = 5

    def __post_init__(self) -> None:
        if self.score not in ("nll", "accuracy"):
            raise ConfigError(f"score: nll or accuracy expected, got {self.score}")
        if not self.fixed <= set(TUNED):
            unknown = ", ".join(sorted(self.fixed - set(TUNED)))
            raise ConfigError(f"fixed: names out of {', '.join(TUNED)} expected, got {unknown}")
        if self.num_folds < 2:
            raise ConfigError(f"num_folds: at least 2 expected, got {self.num_folds}")


@dataclass(frozen=True, kw_only=True)
class _Round:
    train: FitInputs
    held_out: FitInputs


def tune_on_split(
    inputs: FitInputs,
    held_out: FitInputs,
    settings: RectifySettings,
    *,
    options: TuningOptions,
    progress: Progress = silent,
) -> Tuning:
    """Fit on all of `inputs`, score on `held_out`, samples that phase one did not train on.

    Args:
        inputs: the rows of the final fit.
        held_out: the scored views of a split held out.
        settings: of the method, and the point that tuning starts from.
        options: how to choose.
        progress: told the fits.

    Raises:
        ConfigError: the method has nothing to tune.
        FitError: the loss ran out of finite numbers.
    """
    rounds = [_Round(train=inputs, held_out=held_out)]
    return _tune(rounds, 1, inputs, settings, source="tune", options=options, progress=progress)


def cross_validate(
    inputs: FitInputs,
    scored: FitInputs,
    settings: RectifySettings,
    *,
    options: TuningOptions,
    progress: Progress = silent,
) -> Tuning:
    """Fit on all folds but one, score on that one, for each of the folds.

    The network has seen these samples, so it is surer of them than of new ones, and so are the
    scores. Classes with one sample are in every training part and not scored.

    Args:
        inputs: the rows of the final fit.
        scored: the scored views of the same samples, in the same order.
        settings: of the method, and the point that tuning starts from; `seed` deals the folds.
        options: how to choose.
        progress: told the fits.

    Raises:
        ConfigError: the method has nothing to tune.
        DataError: no class has two samples.
        FitError: the loss ran out of finite numbers.
    """
    folds = stratified_folds(inputs.labels, num_folds=options.num_folds, seed=settings.seed)
    num_folds = int(folds.max()) + 1
    if num_folds == 0:
        raise DataError(
            "cross-validation: a class with two samples or more expected, got one sample a class; "
            "give the cache a tune split, or choose settings by hand"
        )
    rounds = _leave_each_out(inputs, scored, folds)
    return _tune(
        rounds,
        num_folds,
        inputs,
        settings,
        source="cross-validation",
        options=options,
        progress=progress,
    )


def _leave_each_out(inputs: FitInputs, scored: FitInputs, folds: Tensor) -> Iterator[_Round]:
    """One round a fold. Only one training part is in memory at a time."""
    sizes = torch.bincount(inputs.labels, minlength=inputs.num_classes)
    counts = inputs.class_counts
    for fold in range(int(folds.max()) + 1):
        train = inputs.subset((folds != fold).nonzero()[:, 0])
        kept = torch.bincount(train.labels, minlength=inputs.num_classes)
        # The loss weights follow the counts of what is fitted. With the whole counts a class of
        # two images would lose half of its share of the loss where a large one loses a fifth, and
        # the folds would ask for a larger gamma than the whole split does.
        remaining = torch.maximum(counts * kept // sizes.clamp(min=1), counts.clamp(max=1))
        yield _Round(
            train=replace(train, class_counts=torch.where(sizes > 0, remaining, counts)),
            held_out=scored.subset((folds == fold).nonzero()[:, 0]),
        )


def _tune(
    rounds: Iterable[_Round],
    num_rounds: int,
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    source: Source,
    options: TuningOptions,
    progress: Progress,
) -> Tuning:
    method = METHODS[settings.method]
    make_family = method.family
    if make_family is None:
        lack = "nothing to tune" if not method.is_fitted else "more than scales and shifts to fit"
        raise ConfigError(
            f"--tune: a method that fits scales and shifts expected, got {settings.method}, which "
            f"has {lack}; use --tune off"
        )
    family = make_family(inputs.weight_norm)
    has_shift = family.shift_unit is not None
    grid = tuning_grid(settings, fixed=options.fixed, has_shift=has_shift)
    start = grid.index(GridPoint.of(settings))
    pooled = BalancedScores(num_rules=len(grid), num_classes=inputs.num_classes, reference=start)
    for index, part in enumerate(rounds):
        scores = []
        for scale, shift in _grid_fits(part.train, settings, family, grid):
            scores.append(sample_scores(part.held_out, scale, shift, options.score))
            progress(index * len(grid) + len(scores), num_rounds * len(grid))
        pooled.add(part.held_out.labels, torch.stack(scores))
    return choose(
        grid,
        pooled,
        start=start,
        source=source,
        score=options.score,
        num_folds=num_rounds if source == "cross-validation" else None,
    )


def _grid_fits(
    train: FitInputs, settings: RectifySettings, family: AffineFamily, grid: tuple[GridPoint, ...]
) -> Iterator[tuple[Tensor, Tensor]]:
    """scale (K,) and shift (K,) of each point's fit, by L-BFGS whatever the final optimizer."""
    gamma = None
    for point in grid:
        if point.gamma != gamma:
            gamma = point.gamma
            weights = class_weights(train.class_counts, gamma)
            loss = WeightedCrossEntropy(*train.rows(), weights, reduction=settings.reduction)
        tried = point.applied_to(settings)
        problem = AffineProblem(loss, family, build_ridge(family, tried, train.log_prior))
        start = starting_point(problem, tried)
        yield family.affine(minimize_lbfgs(problem, start, TOLERANCE).theta)
