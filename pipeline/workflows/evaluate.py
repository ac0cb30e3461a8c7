"""Rectifiers on one split of a cache, beside the baselines: what `evaluate` and `plot` show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from marr_pipeline.cache import Cache
from marr_pipeline.files import METRICS, FileName, listed, replacing
from marr_pipeline.findings import Finding, Mute, muted_codes
from marr_pipeline.names import REFERENCES
from marr_pipeline.notebook import short_repr
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.sets import SetSettings
from marr_pipeline.report.classes import Classes, few_rows
from marr_pipeline.report.metrics import Metrics
from marr_pipeline.report.population import Population
from marr_pipeline.report.sets import table_of_sets
from marr_pipeline.report.tables import (
    Table,
    csv_table,
    metrics_table,
    table_of_metrics,
    terminal_table,
)
from marr_pipeline.workflows.cached import CacheLike, opened
from marr_pipeline.workflows.checks import find, gains
from marr_pipeline.workflows.distribution import (
    Said,
    check_exchangeable,
    describe_scope,
    marked,
    moved_all,
    recorded,
    recorded_prior,
    say_moved,
    scored_under,
    target_shares,
)
from marr_pipeline.workflows.probe import probe_record, reference_names, with_probe
from marr_pipeline.workflows.scored_rows import EvaluationRows, closed_form, evaluation_rows
from marr_pipeline.workflows.sets import EvaluatedSets, evaluate_sets
from marr_pipeline.workflows.suited import rectifiers_for

_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Rectifiers and the samples that they are scored on.

    Attributes:
        cached: the open cache.
        split: its split.
        rows: the clean view of that split.
        rectifiers: by key: file stem, or the name of a baseline; moved where a target prior is.
        sets: of each of them, if they were asked for.
        population: what a sample of each class counts; None for the split as it is.
        class_distribution: that the metrics are about; None for the split as it is.
        target_prior: that the logits were moved to, if they were; the metrics are about it.
        unmoved: keys of rectifiers that stand for no prior, and so stay as they are.
        warnings: for results that stand but need a look.
        mute: numbers of checks that are not to speak.
    """

    __repr__ = short_repr

    cached: Cache
    split: str
    rows: EvaluationRows
    rectifiers: Mapping[str, Rectifier]
    sets: EvaluatedSets | None = None
    population: Population | None = None
    class_distribution: Said | None = None
    target_prior: Said | None = None
    unmoved: Sequence[str] = ()
    warnings: Sequence[str] = ()
    mute: Mute = ()

    @property
    def names(self) -> Mapping[str, str]:
        """Of the baselines that readers see, by key."""
        return reference_names(self.cached)

    def metrics(self) -> dict[str, Metrics]:
        """Every number of the tables, by key."""
        return self._metrics

    @cached_property
    def _metrics(self) -> dict[str, Metrics]:
        return {
            key: self.rows.metrics(rectifier, self.population)
            for key, rectifier in self.rectifiers.items()
        }

    def scope(self) -> str:
        """For which distribution the numbers hold."""
        return f"Split {self.split} {describe_scope(self.class_distribution, self.target_prior)}"

    @cached_property
    def checks(self) -> tuple[Finding, ...]:
        """What numbered checks find."""
        return find(
            self.cached,
            {key: one for key, one in self.rectifiers.items() if key not in REFERENCES},
            split=self.split,
            rows=self.rows,
            scored=self.population,
            is_moved=self.target_prior is not None,
            gains=gains({key: one.summaries() for key, one in self.metrics().items()}),
            mute=self.mute,
        )

    def table(self, *, per_class: bool = False) -> str:
        """The metrics, one line a key, and below them those of each class and of sets."""
        tables = [metrics_table(self._named(self.metrics()), reference=self._reference or "")]
        if per_class:
            tables.append(terminal_table(few_rows(self.class_table())))
        if self.sets is not None:
            sets = table_of_sets(self._named(self.sets.metrics), caption=self.sets.promise)
            tables.append(terminal_table(sets, min_width=10))
        return "\n\n".join(tables)

    @property
    def _reference(self) -> str | None:
        """The softmax, under the name that readers see; None where it is no baseline."""
        return next(
            iter(self._named({key: key for key in self.rectifiers if key == "softmax"})), None
        )

    def class_table(self) -> Table:
        """Every class by training count: what it has, its accuracies, and their changes."""
        accuracy = {key: one.per_class for key, one in self.metrics().items()}
        reference = "softmax" if "softmax" in accuracy else None
        shown = self._named({key: key for key in accuracy})
        names = {key: name for name, key in shown.items()}
        shares = target_shares(self.target_prior, self.cached.class_counts, self.cached.class_names)
        return self.classes.table(accuracy, reference=reference, names=names, target_prior=shares)

    @property
    def classes(self) -> Classes:
        """What is known of each class of the split."""
        counts, labels = self.cached.class_counts, self.rows.labels.numpy()
        return Classes.of(self.cached.class_names, counts, labels, self.rows.cuts)

    def save(self, path: Path, *, per_class: bool = False, overwrite: bool = False) -> None:
        """Write the metrics, or those of each class, as CSV, complete or not at all.

        Another file than such a table is replaced with `overwrite` alone.
        """
        table = self.class_table() if per_class else table_of_metrics(self._named(self.metrics()))
        with replacing(path, METRICS, overwrite=overwrite) as partial:
            partial.write_text(csv_table(table) + "\n", encoding="utf-8")

    def _repr_html_(self) -> str:
        """The metrics, for a notebook."""
        caption = "\n".join((self.scope(), *self.warnings, *map(str, self.checks)))
        html = table_of_metrics(self._named(self.metrics()), caption=caption).html()
        if self.sets is not None:
            sets = self._named(self.sets.metrics)
            html += table_of_sets(sets, caption=self.sets.promise).html()
        return html

    def _named(self, found: Mapping[str, _Value]) -> Mapping[str, _Value]:
        """Under the names that readers see."""
        shown = {self.names.get(key, key): each for key, each in found.items()}
        return marked(shown, self.unmoved)

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline evaluate`."""
        methods = {
            key: {
                "method": self.rectifiers[key].method,
                "prior": recorded_prior(self.rectifiers[key]),
                **found.record(),
            }
            for key, found in self.metrics().items()
        }
        return {
            "command": "evaluate",
            "split": self.split,
            "class_distribution": recorded(self.class_distribution),
            "target_prior": recorded(self.target_prior),
            "unmoved": list(self.unmoved),
            "probe": probe_record(self.cached),
            "methods": methods,
            "classes": self.classes.record(),
            **({} if self.sets is None else {"sets": self.sets.record()}),
            "checks": [finding.record() for finding in self.checks],
        }


def evaluate(
    cache: CacheLike,
    rectifiers: FileName | Iterable[FileName] = (),
    *,
    split: str = "test",
    groups: str | None = None,
    class_distribution: Said | None = None,
    target_prior: Said | None = None,
    any_head: bool = False,
    sets: SetSettings | None = None,
    baselines: Iterable[str] = REFERENCES,
    mute: Mute = (),
    progress: Progress = silent,
) -> Evaluation:
    """Rectifiers and baselines on a split of a cache.

    Args:
        cache: the cache; of features alone the baselines are those of a plain probe, see `probe`.
        rectifiers: files that `rectify` wrote; the stem of each is its key.
        split: split that is scored.
        groups: cuts between the shot groups, as `parse_cuts` takes them.
        class_distribution: that the metrics are about, the predictions as they are; None for the
            split as it is. See `distribution`.
        target_prior: that the logits of all are moved to, and the metrics are about; one that
            stands for no prior stays as it is, and is marked.
        any_head: accept rectifiers that were fitted on another head.
        sets: what sets of labels are to hold; None to make none.
        baselines: methods in closed form that come first.
        mute: numbers of checks that are not to speak.
        progress: told the fits that choose a probe's strength.

    Raises:
        CacheError: the cache is invalid or lacks the split, or the split `tune` that sets need.
        ConfigError: two files would have the same key, no such groups or check, two distributions,
            or sets of moved logits.
        DataError: a rectifier is invalid or of another head, or a distribution is none of these
            classes.
        LeakError: sets would be calibrated on the rows that they are scored on.
    """
    muted_codes(mute)
    check_exchangeable(sets, target_prior)
    cached, warnings = with_probe(opened(cache), eval_split=split, progress=progress)
    rows = evaluation_rows(cached, split, groups)
    population, target, unseen = scored_under(
        class_distribution,
        target_prior,
        rows.labels.numpy(),
        cached.class_counts,
        cached.class_names,
    )
    found = {name: closed_form(cached, name) for name in baselines}
    found |= rectifiers_for(cached, listed(rectifiers), taken=found, any_head=any_head)
    evaluated = None
    if sets is not None:
        evaluated, told = evaluate_sets(cached, rows, found, sets, split=split)
        warnings = [*warnings, *told]
    found, calibrated, unmoved = moved_all(found, target)
    return Evaluation(
        cached=cached,
        split=split,
        rows=rows,
        rectifiers=found,
        sets=evaluated,
        population=population,
        class_distribution=class_distribution,
        target_prior=target_prior,
        unmoved=unmoved,
        warnings=[*warnings, *unseen, *say_moved(calibrated, unmoved)],
        mute=mute,
    )
