"""Rectifiers on one split of a cache, beside the baselines: what `evaluate` and `plot` show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marr_pipeline.cache import Cache
from marr_pipeline.errors import ConfigError
from marr_pipeline.names import REFERENCES
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.report.metrics import Metrics
from marr_pipeline.report.tables import metrics_table, table_of_metrics
from marr_pipeline.workflows.cached import (
    CacheLike,
    EvaluationRows,
    closed_form,
    evaluation_rows,
    opened,
    rectifier_for,
)
from marr_pipeline.workflows.probe import named, probe_record, with_probe


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Rectifiers and the samples that they are scored on.

    Attributes:
        cached: the open cache.
        split: its split.
        rows: the clean view of that split.
        rectifiers: by key: file stem, or the name of a baseline.
        warnings: for results that stand but need a look.
    """

    cached: Cache
    split: str
    rows: EvaluationRows
    rectifiers: Mapping[str, Rectifier]
    warnings: Sequence[str] = ()

    def metrics(self) -> dict[str, Metrics]:
        """Every number of the tables, by key."""
        return {key: self.rows.metrics(rectifier) for key, rectifier in self.rectifiers.items()}

    def table(self) -> str:
        """The metrics, one line a key."""
        return metrics_table(self._named_metrics())

    def _repr_html_(self) -> str:
        """The metrics, for a notebook."""
        caption = "\n".join((f"Split {self.split}", *self.warnings))
        return table_of_metrics(self._named_metrics(), caption=caption).html()

    def _named_metrics(self) -> dict[str, Metrics]:
        """Under the names that readers see."""
        metrics = self.metrics()
        return named(metrics) if probe_record(self.cached) else metrics

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline evaluate`."""
        methods = {
            key: {"method": self.rectifiers[key].method, **found.record()}
            for key, found in self.metrics().items()
        }
        return {
            "command": "evaluate",
            "split": self.split,
            "probe": probe_record(self.cached),
            "methods": methods,
        }


def evaluate(
    cache: CacheLike,
    rectifiers: Iterable[Path] = (),
    *,
    split: str = "test",
    groups: str | None = None,
    any_head: bool = False,
    baselines: Iterable[str] = REFERENCES,
    progress: Progress = silent,
) -> Evaluation:
    """Rectifiers and baselines on a split of a cache.

    Args:
        cache: the cache; of features alone the baselines are those of a plain probe, see `probe`.
        rectifiers: files that `rectify` wrote; the stem of each is its key.
        split: split that is scored.
        groups: cuts between the shot groups, as `parse_cuts` takes them.
        any_head: accept rectifiers that were fitted on another head.
        baselines: methods in closed form that come first.
        progress: told the fits that choose a probe's strength.

    Raises:
        CacheError: the cache is invalid or lacks the split.
        ConfigError: two files would have the same key, or no such groups.
        DataError: a rectifier is invalid or of another head.
    """
    cached, warnings = with_probe(opened(cache), eval_split=split, progress=progress)
    rows = evaluation_rows(cached, split, groups)
    found = {name: closed_form(cached, name) for name in baselines}
    for file in map(Path, rectifiers):
        if file.stem in found:
            raise ConfigError(f"{file}: a file stem of its own expected, got a second {file.stem}")
        found[file.stem] = rectifier_for(cached, file, any_head=any_head)
    return Evaluation(cached=cached, split=split, rows=rows, rectifiers=found, warnings=warnings)
