"""A fit at every point of a grid of settings, each with its metrics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch

from marr_pipeline.cache import Cache, ViewKind, open_cache
from marr_pipeline.errors import ConfigError
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.fit import Fit, fit_rectifier
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.report.metrics import Metrics
from marr_pipeline.workflows.cached import closed_form, dataset_name, evaluation_rows, fit_inputs

Half = Literal["both", "first", "second"]
BASELINES = ("softmax", "logit-adjustment")


@dataclass(frozen=True, kw_only=True)
class SweptFit:
    """One point of a sweep.

    Attributes:
        settings: of the fit.
        num_views: views whose rows were fitted.
        fit: how it ended.
        metrics: of its rectifier.
    """

    settings: RectifySettings
    num_views: int
    fit: Fit
    metrics: Metrics

    def record(self, varied: Sequence[str]) -> dict[str, Any]:
        """The varied settings, how the fit ended, and the metrics, for JSON."""
        values = {name: getattr(self.settings, name) for name in varied}
        if self.settings.center != "tempered" and "scale_l2" in values:
            values["scale_l2"] = None  # it has no effect there
        return {
            **values,
            "views": self.num_views,
            "status": str(self.fit.status),
            "loss": self.fit.loss,
            "gap_bound": self.fit.gap_bound,
            "passes": self.fit.passes,
            "seconds": self.fit.seconds,
            "metrics": self.metrics.record(),
        }


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Every point, and what stands beside them.

    Attributes:
        baselines: metrics of softmax and logit adjustment.
        points: in the order of the grid, its last setting varying fastest.
        warnings: what the cache could not give.
    """

    baselines: dict[str, Metrics]
    points: tuple[SweptFit, ...]
    warnings: tuple[str, ...]


def sweep_cache(
    path: Path,
    base: RectifySettings,
    grid: Mapping[str, Sequence[Any]],
    *,
    num_views: Sequence[int] = (),
    eval_split: str = "test",
    half: Half = "both",
    progress: Progress = silent,
) -> Sweep:
    """Fit the product of all values, and score each fit.

    Args:
        path: the cache.
        base: settings that the grid does not vary.
        grid: field of `RectifySettings` to the values tried.
        num_views: how many of the views are fitted, each tried; empty for all of them.
        eval_split: split that is scored.
        half: score all of its samples, or every other one of each class.
        progress: told the fits.

    Raises:
        CacheError: the cache is invalid or lacks what is asked for.
        ConfigError: a value out of range.
        FitError: the loss ran out of finite numbers.
    """
    cached = open_cache(path)
    rows = evaluation_rows(cached, eval_split)
    if half != "both":
        rows = rows.every_other(0 if half == "first" else 1)
    found: list[SweptFit] = []
    settings = tuple(dict.fromkeys(_points(base, grid)))
    fitted, warnings = _fitted_rows(cached, settings)
    views_tried = tuple(num_views) or (None,)
    for views, tried in product(views_tried, settings):
        inputs = fitted[tried.fit_split, tried.fit_views]
        inputs = inputs if views is None else inputs.first_views(views)
        fit = fit_rectifier(inputs, tried, dataset=dataset_name(cached))
        metrics = rows.metrics(fit.rectifier)
        found.append(SweptFit(settings=tried, num_views=inputs.num_views, fit=fit, metrics=metrics))
        progress(len(found), len(views_tried) * len(settings))
    return Sweep(
        baselines={name: rows.metrics(closed_form(cached, name)) for name in BASELINES},
        points=tuple(found),
        warnings=warnings,
    )


def _fitted_rows(
    cached: Cache, settings: Sequence[RectifySettings]
) -> tuple[dict[tuple[str, ViewKind], FitInputs], tuple[str, ...]]:
    """The rows of each split and kind of views that is fitted, and what the cache lacks of them."""
    rows: dict[tuple[str, ViewKind], FitInputs] = {}
    warnings: list[str] = []
    for split, views in dict.fromkeys((point.fit_split, point.fit_views) for point in settings):
        rows[split, views], missing = fit_inputs(
            cached, split=split, views=views, source="logits", device=torch.device("cpu")
        )
        warnings += missing
    return rows, tuple(warnings)


def _points(base: RectifySettings, grid: Mapping[str, Sequence[Any]]) -> Iterator[RectifySettings]:
    """Every combination; those that differ only where it has no effect are made equal."""
    for values in product(*grid.values()):
        point = replace(base, **dict(zip(grid, values, strict=True)))
        if point.center != "tempered":
            point = replace(point, scale_l2=base.scale_l2)
        if point.fit_split == "test":
            raise ConfigError("fit_split: a split for fitting expected, got test")
        yield point
