"""A fit at every point of a grid of settings, each with its metrics."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from marr_pipeline.cache import ViewKind
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.files import SWEEP, replacing
from marr_pipeline.names import MAX_POINTS, REFERENCES
from marr_pipeline.notebook import short_repr
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.fit import fit_rectifier
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.methods import check_heeded
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.comparison import Scored, Standing, compare_methods
from marr_pipeline.report.metrics import Metrics
from marr_pipeline.report.population import as_sampled
from marr_pipeline.report.tables import (
    COMPARED_METRICS,
    FACTS,
    GAINS,
    Column,
    Table,
    csv_table,
    metrics_table,
    table_of_metrics,
)
from marr_pipeline.workflows.cached import (
    CacheLike,
    dataset_name,
    fit_inputs,
    opened,
    with_fit_split,
)
from marr_pipeline.workflows.probe import reference_names, with_probe, with_probe_facts
from marr_pipeline.workflows.scored_rows import closed_form, evaluation_rows

SETTINGS = (
    "method",
    "preset",
    "gamma",
    "l2",
    "center",
    "scale_l2",
    "reduction",
    "fit_split",
    "fit_views",
)
"""Of a fit, as `--output` writes them before its metrics."""
COLUMNS = tuple(
    column
    for column in (
        *(Column(key=name, heading=name, notation="text") for name in (*SETTINGS, "views")),
        *(*COMPARED_METRICS, *GAINS, *FACTS),
    )
    if column.key != "seconds"  # the same sweep writes the same bytes
)


@dataclass(frozen=True, kw_only=True)
class SweptFit:
    """One point of a sweep.

    Attributes:
        name: what makes it differ, `gamma 1.2, l2 3`.
        varied: the settings that the grid varies, by name; None for one without effect here.
        num_views: views whose rows were fitted.
        fit: how it ended.
        metrics: of its rectifier.
    """

    name: str
    varied: Mapping[str, Any]
    num_views: int
    fit: FitResult
    metrics: Metrics

    def settings(self) -> dict[str, str]:
        """Its `SETTINGS` and views as text; empty where one has no effect."""
        found = {name: self.fit.rectifier.metadata[name] for name in SETTINGS}
        if found["center"] != "tempered":
            found["scale_l2"] = ""
        return {name: str(value) for name, value in (found | {"views": self.num_views}).items()}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Every point, and what stands beside them.

    Attributes:
        base: settings that the grid does not vary.
        eval_split: split that was scored.
        baselines: metrics of softmax and logit adjustment.
        points: in the order of the grid, its last setting varying fastest.
        warnings: what the cache could not give, and fits that reached no minimum.
        standings: of baselines and points by name, with intervals, if they were asked for.
        names: of the baselines that readers see, by method.
    """

    __repr__ = short_repr

    base: RectifySettings
    eval_split: str
    baselines: Mapping[str, Metrics]
    points: tuple[SweptFit, ...]
    warnings: tuple[str, ...]
    standings: Mapping[str, Standing] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def table(self) -> str:
        """The metrics of each point under what makes it differ."""
        rows = self._named_metrics()
        return metrics_table(rows, reference=next(iter(rows)))

    def _repr_html_(self) -> str:
        """The metrics of each point, for a notebook."""
        caption = "\n".join((f"{self.base.method} on split {self.eval_split}", *self.warnings))
        return table_of_metrics(self._named_metrics(), caption=caption).html()

    def _named_metrics(self) -> dict[str, Metrics]:
        """Under the names that readers see."""
        baselines = {self.names.get(key, key): found for key, found in self.baselines.items()}
        return {**baselines, **{one.name: one.metrics for one in self.points}}

    def csv(self) -> str:
        """`COLUMNS` of the baselines and of every point, which only `standings` can fill."""
        settings = {point.name: point.settings() for point in self.points}
        rows = {
            name: {"method": standing.method, **settings.get(name, {}), **standing.cells()}
            for name, standing in self.standings.items()
        }
        return csv_table(Table(columns=COLUMNS, rows=rows)) + "\n"

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write `csv`, complete or not at all; `overwrite` replaces whatever file is there."""
        with replacing(path, SWEEP, overwrite=overwrite) as partial:
            partial.write_text(self.csv(), encoding="utf-8")

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
    groups: str | None = None,
    resamples: int | None = None,
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
        groups: cuts between the shot groups, as `parse_cuts` takes them.
        resamples: of the bootstrap of the intervals; None for no `standings`.
        progress: told the fits.

    Raises:
        CacheError: the cache is invalid or lacks what is asked for.
        ConfigError: a value out of range, a setting that the method does not heed, or more than
            `names.MAX_POINTS` points.
        DataError: more views than there are.
        LeakError: test samples would be fitted.
        FitError: the loss ran out of finite numbers.
    """
    num_points = math.prod(len(values) for values in (*grid.values(), num_views or (None,)))
    if num_points > MAX_POINTS:
        raise ConfigError(
            f"sweep: at most {MAX_POINTS:,} points expected, got {num_points:,}; try fewer values "
            "of a setting"
        )
    check_heeded(base.method, grid)
    cached, warnings = with_probe(opened(cache), eval_split=eval_split, progress=progress)
    base = with_fit_split(cached, base)
    rows = evaluation_rows(cached, eval_split, groups)
    points: list[SweptFit] = []
    baselines = {name: closed_form(cached, name) for name in REFERENCES}
    scored: dict[str, Scored] = {}
    if resamples is not None:
        for name, rectifier in baselines.items():
            fit = FitResult.closed_form(rectifier)
            one = rows.scored(fit, RectifySettings(method=name))
            scored[name] = with_probe_facts(cached, name, one)
    settings = tuple(dict.fromkeys(_settings(base, grid)))
    inputs: dict[tuple[str | None, ViewKind], FitInputs] = {}
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
        shown = {**varied, **({"views": fitted.num_views} if num_views else {})}
        values = (
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in shown.items()
            if value is not None
        )
        name = ", ".join(values) or "preset"
        if resamples is not None:
            scored[name] = rows.scored(fit, tried)
        metrics = rows.metrics(fit.rectifier)
        points.append(
            SweptFit(name=name, varied=varied, num_views=fitted.num_views, fit=fit, metrics=metrics)
        )
        progress(len(points), len(views_tried) * len(settings))
    unsolved = sum(point.fit.is_unsolved for point in points)
    if unsolved:
        warnings.append(f"{unsolved} of {len(points)} fits did not reach a minimum; see --json")
    standings = {}
    if resamples is not None:
        standings = compare_methods(
            scored,
            cached.class_counts,
            population=as_sampled(rows.labels.numpy(), cached.num_classes),
            bootstrap=Bootstrap(resamples=resamples),
            cuts=rows.cuts,
        )
    return Sweep(
        base=base,
        eval_split=eval_split,
        baselines={name: rows.metrics(rectifier) for name, rectifier in baselines.items()},
        names=reference_names(cached),
        points=tuple(points),
        warnings=tuple(warnings),
        standings=standings,
    )


def _settings(
    base: RectifySettings, grid: Mapping[str, Sequence[Any]]
) -> Iterator[RectifySettings]:
    """Every combination; those that differ only where it has no effect are made equal."""
    for values in product(*grid.values()):
        point = replace(base, **dict(zip(grid, values, strict=True)))
        yield point if point.center == "tempered" else replace(point, scale_l2=base.scale_l2)


def read_sweep(path: Path) -> list[dict[str, str]]:
    """The rows of a table that `Sweep.save` wrote, as text.

    Raises:
        DataError: a table of something else.
        Exception: whatever a file that is none meets.
    """
    rows = parse_rows(path.read_text(encoding="utf-8"))
    missing = [column.key for column in COLUMNS if not rows or column.key not in rows[0]]
    if missing:
        raise DataError(
            f"{path}: a table of `pipeline sweep -o` expected, got one without "
            f"{', '.join(missing[:3])}; sweep again with -o"
        )
    return rows


def parse_rows(text: str) -> list[dict[str, str]]:
    """The rows of a CSV."""
    return list(csv.DictReader(text.splitlines()))


def alike_but_for(
    setting: str, rows: Iterable[Mapping[str, str]]
) -> dict[str, list[Mapping[str, str]]]:
    """Rows of a table, ascending in one of its settings, by what the others are.

    Named by the settings that the groups do not share, by method and preset if they share all.
    """
    others = [name for name in (*SETTINGS, "views") if name != setting]
    groups: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in rows:
        if row[setting]:
            groups.setdefault(tuple(row[name] for name in others), []).append(row)
    varied = [
        name
        for name, values in zip(others, zip(*groups, strict=True), strict=False)
        if len(set(values)) > 1
    ]
    found = {}
    for points in groups.values():
        first = points[0]
        words = [
            first[name] if name in ("method", "preset", "center") else f"{name} {first[name]}"
            for name in varied
            if first[name]
        ]
        name = ", ".join(words) or f"{first['method']} ({first['preset']})"
        found[name] = sorted(points, key=lambda row: float(row[setting]))
    return found
