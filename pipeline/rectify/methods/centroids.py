"""Heads in closed form, from class means (`ncm`) and a shared covariance (`gda`).

Both stand for classes that are equally common (`head.centroids` has the formulas; Wang et al. 2024
use the second on frozen features). What is free, a common scale s of the logits and the shrinkage
a of the covariance, is chosen on samples that means and covariance have not seen: on the split
`tune`, or on each fold of the fitted rows in turn, by the balanced negative log-likelihood. It is
convex in s; a is taken from a grid. The usual estimates of a, which aim at the covariance itself,
are far too small for telling classes apart (OAS 0.03 gave 52.3 %, 0.6 gave 55.7, CIFAR-100-LT on
features of an ImageNet network).

R rows, K classes, D features. Folds cost no passes: sums of the rows of each class and products of
their differences are kept for every fold, and those of a training part are what the others add.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.head.centroids import ClassMeans, Discriminant, class_sums, scatter
from marr_pipeline.rectify.head.frame import fit_coordinates, head_rectifier, left_out
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import FitResult, Method
from marr_pipeline.rectify.rows.folds import NEVER_HELD_OUT, stratified_folds
from marr_pipeline.rectify.rows.source import HELD_ROWS, FeatureRows
from marr_pipeline.rectify.rows.thinning import class_positions
from marr_pipeline.rectify.settings import RectifySettings

SHRINKAGES = (0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
NUM_FOLDS = 5
SCORED_OF_CLASS = 50
"""Held-out rows of a class at most: a balanced score gains little from more."""
STEPS = 40
"""Of Newton's method in the scale, which takes about six."""
ACCURACY = 1e-4
"""Relative, of the scale."""

HeadAt = Callable[[float], Tensor]
"""Shrinkage to a head (K, D + 1) of scale 1."""
Scored = tuple[HeadAt, Tensor, Tensor]
"""A training part's head, and the rows (M, D) with labels (M,) that it has not seen."""


def fit_centroids(inputs: FitInputs, settings: RectifySettings, context: FitContext) -> FitResult:
    """Fit `ncm` or `gda`.

    Raises:
        DataError: the inputs have no features, or there is nothing to choose scale and shrinkage
            on: no class has two samples, and no split is held out.
    """
    coordinates, _ = fit_coordinates(inputs, settings, rows=None, resources=context.resources)
    rows, labels = coordinates.rows, inputs.labels.repeat(inputs.num_views)
    is_gda = settings.method == "gda"
    is_open = settings.scale is None or (is_gda and settings.shrinkage is None)
    held_out, groups = context.held_out, torch.full_like(labels, NEVER_HELD_OUT)
    if is_open and held_out is None:
        folds = stratified_folds(inputs.labels, num_folds=NUM_FOLDS, seed=settings.seed)
        if int(folds.max()) == NEVER_HELD_OUT:
            raise DataError(
                f"{settings.method}: a class with two samples or more expected, to choose its "
                "scale by, got one sample a class; give scale (and shrinkage), or the cache a tune "
                "split"
            )
        groups = folds.repeat(inputs.num_views)
    sums = _Sums(rows, labels, groups, num_classes=inputs.num_classes, has_covariance=is_gda)
    head_at = sums.head(None)
    shrinkage, scale = settings.shrinkage or 0.0, settings.scale
    if is_open:
        if held_out is not None:
            others = coordinates.of(held_out.feature_rows(settings.method))
            others_labels = held_out.labels.repeat(held_out.num_views)
            scored = [(head_at, *_picked(others, others_labels, SCORED_OF_CLASS))]
        else:
            scored = [sums.fold(fold) for fold in range(int(groups.max()) + 1)]
        tried = (shrinkage,) if settings.shrinkage is not None or not is_gda else SHRINKAGES
        shrinkage, scale = _choose(scored, tried, settings.scale, inputs.num_classes)
    assert scale is not None
    head = coordinates.on_features(scale * head_at(shrinkage))
    counts = torch.bincount(labels, minlength=inputs.num_classes)
    uniform = torch.full((len(counts),), 1 / len(counts), dtype=torch.float64).log()
    num_free = len(labels) - int((counts > 0).sum())
    warnings = left_out(counts)
    if is_gda and settings.shrinkage == 0 and num_free < rows.num_features:
        warnings.append(
            f"shrinkage 0: the covariance of {rows.num_features} features has no inverse on "
            f"{len(labels)} rows, so noise decides; give more, or leave it out to have it chosen"
        )
    if not bool(head[:, :-1].any()):
        warnings.append("all classes have the same mean, so none is told from another")
    return FitResult.closed_form(
        head_rectifier(head[:, :-1], head[:, -1], counts, uniform, settings),
        warnings=warnings,
        chosen={"scale": scale, **({"shrinkage": shrinkage} if is_gda else {})},
    )


class _Sums:
    """What means and covariances of rows x (R, D) of labels (R,), of all and of all but a fold, are
    made of; `groups` (R,) int64 are the folds, or `NEVER_HELD_OUT`.
    """

    def __init__(
        self,
        rows: FeatureRows,
        labels: Tensor,
        groups: Tensor,
        *,
        num_classes: int,
        has_covariance: bool,
    ) -> None:
        self._rows, self._labels, self._groups = rows, labels, groups
        self._num_classes = num_classes
        own = groups - NEVER_HELD_OUT  # those in every training part are the first group
        self._num_groups = int(own.max()) + 1
        pairs = own * num_classes + labels
        num_pairs = self._num_groups * num_classes
        shape = (self._num_groups, num_classes)
        self._counts = torch.bincount(pairs, minlength=num_pairs).view(shape)
        self._sums = class_sums(rows, pairs, num_pairs).cpu().view(*shape, -1)
        self._points = self._sums.sum(0) / self._counts.sum(0).clamp(min=1)[:, None]
        self._scatter = (
            scatter(rows, self._points, labels, own, self._num_groups).cpu()
            if has_covariance
            else None
        )

    def head(self, without: int | None) -> HeadAt:
        """The head of all rows, or of all but those of a fold."""
        kept = torch.ones(self._num_groups, dtype=torch.bool)
        if without is not None:
            kept[without - NEVER_HELD_OUT] = False
        counts = self._counts[kept].sum(0)
        means = ClassMeans.of_sums(self._sums[kept].sum(0), counts)
        if self._scatter is None:
            return lambda shrinkage: means.head(means.means)
        moved = torch.where((counts > 0)[:, None], means.means + means.origin - self._points, 0.0)
        about_means = self._scatter[kept].sum(0) - (moved * counts[:, None]).T @ moved
        return Discriminant.of_covariance(means, about_means / counts.sum()).head

    def fold(self, fold: int) -> Scored:
        """The head of all rows but a fold's, and some of these of each class."""
        members = (self._groups == fold).nonzero()[:, 0]
        most = -(-SCORED_OF_CLASS // NUM_FOLDS)
        return self.head(fold), *_picked(self._rows, self._labels, most, members)


def _picked(
    rows: FeatureRows, labels: Tensor, most: int, members: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Rows (M, D) and labels (M,): of each class the first ones, at most so many."""
    members = torch.arange(len(labels)) if members is None else members
    members = members[class_positions(labels[members]) < most]
    return rows.block(members.to(rows.device), torch.float32), labels[members]


def _choose(
    scored: Sequence[Scored], shrinkages: Sequence[float], scale: float | None, num_classes: int
) -> tuple[float, float]:
    """The shrinkage and the scale of the smallest balanced negative log-likelihood."""
    labels = torch.cat([own for _, _, own in scored])
    counts = torch.bincount(labels, minlength=num_classes)
    share = (1 / counts.clamp(min=1)).double()[labels] / (counts > 0).sum()
    best = (float("inf"), shrinkages[0], scale or 1.0)
    found = scale
    for shrinkage in shrinkages:
        logits = []
        for head_at, rows, _ in scored:
            head = head_at(shrinkage).to(rows)
            logits.append(torch.addmm(head[:, -1], rows, head[:, :-1].T))
        value = partial(_at_scale, torch.cat(logits), labels, share)
        found = _best_scale(value, found) if scale is None else scale
        best = min(best, (value(found)[0], shrinkage, found))
    return best[1], best[2]


def _at_scale(
    logits: Tensor, labels: Tensor, share: Tensor, scale: float
) -> tuple[float, float, float]:
    """Weighted negative log-likelihood of scale * logits, with two derivatives in the scale."""
    total = torch.zeros(3, dtype=torch.float64)
    blocks = (torch.split(each, HELD_ROWS) for each in (logits, labels, share))
    for own, of, part in zip(*blocks, strict=True):
        scaled = scale * own
        log_sum = scaled.logsumexp(1, keepdim=True)
        probability = (scaled - log_sum).exp_()
        mean = (probability * own).sum(1)
        variance = (probability * (own - mean[:, None]).square()).sum(1)
        right = own.gather(1, of.to(own.device)[:, None])[:, 0]
        parts = torch.stack([log_sum[:, 0] - scale * right, mean - right, variance])
        total += parts.cpu().double() @ part
    value, slope, curvature = total.tolist()
    return value, slope, curvature


def _best_scale(value: Callable[[float], tuple[float, float, float]], start: float | None) -> float:
    """The minimiser of a convex function of a scale > 0, within a bracket that its slope gives."""
    low, high = 0.0, float("inf")
    scale = start or 1.0
    for _ in range(STEPS):
        _, slope, curvature = value(scale)
        low, high = (scale, high) if slope < 0 else (low, scale)
        step = scale - slope / curvature if curvature > 0 else float("inf")
        if not low < step < high or step > 4 * scale:
            step = 4 * scale if high == float("inf") else max((low * high) ** 0.5, high / 4)
        if abs(step - scale) <= ACCURACY * scale:
            return step
        scale = step
    return scale


NCM = Method(
    fit=fit_centroids,
    is_fitted=False,
    needs=("features",),
    own_settings=("normalise", "scale"),
    settings={"normalise": "unit"},
)
GDA = Method(
    fit=fit_centroids,
    is_fitted=False,
    needs=("features",),
    own_settings=("normalise", "scale", "shrinkage"),
    settings={"normalise": "unit"},
)
