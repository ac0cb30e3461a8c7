"""A fit at every point of a grid of settings, each with its metrics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from marr_pipeline.cache import ViewKind
from marr_pipeline.names import REFERENCES
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.report.metrics import Metrics
from marr_pipeline.report.tables import metrics_table
from marr_pipeline.workflows.cached import (
    CacheLike,
    closed_form,
    dataset_name,
    evaluation_rows,
    fit_inputs,
    opened,
    with_fit_split,
)


@dataclass(frozen=True, kw_only=True)
class SweptFit:
    """One point of a sweep.

    Attributes:
        varied: the settings that the grid varies, by name; None for one without effect here.
        num_views: views whose rows were fitted.
        fit: how it ended.
        metrics: of its rectifier.
    """

    varied: Mapping[str, Any]
    num_views: int
    fit: FitResult
    metrics: Metrics


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Every point, and what stands beside them.

    Attributes:
        base: settings that the grid does not vary.
        eval_split: split that was scored.
        baselines: metrics of softmax and logit adjustment.
        points: in the order of the grid, its last setting varying fastest.
        varies_views: whether their number is one of the things tried.
        warnings: what the cache could not give, and fits that reached no minimum.
    """

    base: RectifySettings
    eval_split: str
    baselines: Mapping[str, Metrics]
    points: tuple[SweptFit, ...]
    varies_views: bool
    warnings: tuple[str, ...]

    def table(self) -> str:
        """The metrics of each point under what makes it differ."""
        rows = dict(self.baselines)
        for point in self.points:
            shown = {**point.varied, **({"views": point.num_views} if self.varies_views else {})}
            values = (
                f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in shown.items()
                if value is not None
            )
            rows[", ".join(values) or "preset"] = point.metrics
        return metrics_table(rows)

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline sweep`."""
        return {
            "command": "sweep",
            "method": self.base.method,
            "preset": self.base.preset,
            "eval_split": self.eval_split,
            "baselines": {name: found.record() for name, found in self.baselines.items()},
            "points": [
                {
                    **point.varied,
                    "views": point.num_views,
                    **point.fit.record(),
                    "metrics": point.metrics.record(),
                }
                for point in self.points
            ],
        }


def sweep(
    cache: CacheLike,
    base: RectifySettings,
    grid: Mapping[str, Sequence[Any]],
    *,
    num_views: Sequence[int] = (),
    source: str | None = None,
    eval_split: str = "test",
    progress: Progress = silent,
) -> Sweep:
    """Fit the product of all values, and score each fit.

    Args:
        cache: the cache.
        base: settings that the grid does not vary.
        grid: field of `RectifySettings` to the values tried.
        num_views: how many of the views are fitted, each tried; empty for all of them.
        source: `logits` or `features`; None takes the logits where there are some.
        eval_split: split that is scored.
        progress: told the fits.

    Raises:
        CacheError: the cache is invalid or lacks what is asked for.
        ConfigError: a value out of range.
        DataError: more views than there are.
        LeakError: test samples would be fitted.
        FitError: the loss ran out of finite numbers.
    """
    cached = opened(cache)
    base = with_fit_split(cached, base)
    rows = evaluation_rows(cached, eval_split)
    points: list[SweptFit] = []
    settings = tuple(dict.fromkeys(_settings(base, grid)))
    inputs: dict[tuple[str | None, ViewKind], FitInputs] = {}
    warnings: list[str] = []
    for point in settings:  # the rows of each split and kind of views that is fitted
        if (point.fit_split, point.fit_views) not in inputs:
            found, missing = fit_inputs(cached, point, source=source)
            inputs[point.fit_split, point.fit_views] = found
            warnings += missing
    views_tried = tuple(num_views) or (None,)
    for views, tried in product(views_tried, settings):
        fitted = inputs[tried.fit_split, tried.fit_views]
        fitted = fitted if views is None else fitted.first_views(views)
        fit = fit_rectifier(fitted, tried, dataset=dataset_name(cached))
        varied = {name: getattr(tried, name) for name in grid}
        if tried.center != "tempered" and "scale_l2" in varied:
            varied["scale_l2"] = None  # it has no effect there
        metrics = rows.metrics(fit.rectifier)
        points.append(SweptFit(varied=varied, num_views=fitted.num_views, fit=fit, metrics=metrics))
        progress(len(points), len(views_tried) * len(settings))
    unsolved = sum(point.fit.is_unsolved for point in points)
    if unsolved:
        warnings.append(f"{unsolved} of {len(points)} fits did not reach a minimum; see --json")
    return Sweep(
        base=base,
        eval_split=eval_split,
        baselines={name: rows.metrics(closed_form(cached, name)) for name in REFERENCES},
        points=tuple(points),
        varies_views=bool(num_views),
        warnings=tuple(warnings),
    )


def _settings(
    base: RectifySettings, grid: Mapping[str, Sequence[Any]]
) -> Iterator[RectifySettings]:
    """Every combination; those that differ only where it has no effect are made equal."""
    for values in product(*grid.values()):
        point = replace(base, **dict(zip(grid, values, strict=True)))
        yield point if point.center == "tempered" else replace(point, scale_l2=base.scale_l2)
