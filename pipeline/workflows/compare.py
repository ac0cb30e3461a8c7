"""Every method on one cache, or on several runs of one experiment with other seeds, each set
against the baselines.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marr_pipeline.files import COMPARISON, FileName, listed, replacing
from marr_pipeline.findings import Finding, Mute, heard, muted_codes
from marr_pipeline.names import REFERENCES
from marr_pipeline.notebook import short_repr
from marr_pipeline.plugins import Function
from marr_pipeline.progress import Progress, silent
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.compared import EVERYTHING, Notes, comparison_text
from marr_pipeline.report.compared import Layout as Layout
from marr_pipeline.report.comparison import Standing, compare_methods, over_seeds
from marr_pipeline.report.tables import (
    BETTER,
    COMPARED_METRICS,
    GAINS,
    NOT_APART,
    SIGNIFICANT,
    WORSE,
    Cell,
    Table,
    against,
)
from marr_pipeline.workflows.alike import check_seeds
from marr_pipeline.workflows.cached import CacheLike, opened
from marr_pipeline.workflows.checks import differing_runs, find, gains, over_caches
from marr_pipeline.workflows.distribution import (
    Said,
    describe_scope,
    marked,
    recorded,
    say_moved,
    scored_under,
)
from marr_pipeline.workflows.fits import add_methods, asked_keys, fit_and_score
from marr_pipeline.workflows.probe import named, probe_record, with_probe
from marr_pipeline.workflows.scored_rows import evaluation_rows
from marr_pipeline.workflows.suited import rectifiers_for


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The methods on one cache or on several.

    Attributes:
        caches: the files.
        split: that was scored.
        class_distribution: that the metrics are about; None for the split as it is.
        target_prior: that the logits were moved to, if they were; the metrics are about it.
        unmoved: keys of methods that stand for no prior and cannot be calibrated: they stay.
        bootstrap: of the intervals on a single cache; None for spreads over several.
        seed: of the resamples and of `sgd`.
        num_samples: of the split, in each cache.
        num_classes: K.
        is_weighted: whether samples of different classes count differently.
        reports: by key, the references first.
        skipped: by key, what the caches lack for a method.
        failed: by key, why a fit came to nothing on one of the caches.
        warnings: for results that stand but need a look.
        checks: what numbered checks found.
        probes: of each cache, the record of the probe that stands for its head, see `probe`.
    """

    __repr__ = short_repr

    caches: Sequence[Path]
    split: str
    class_distribution: Said | None
    target_prior: Said | None
    unmoved: Sequence[str]
    bootstrap: Bootstrap | None
    seed: int
    num_samples: Sequence[int]
    num_classes: int
    is_weighted: bool
    reports: Mapping[str, Standing]
    skipped: Mapping[str, str]
    failed: Mapping[str, str]
    warnings: Sequence[str]
    checks: tuple[Finding, ...] = ()
    probes: Sequence[Mapping[str, Any] | None] = ()

    def text(self, table_format: str = "terminal", layout: Layout = EVERYTHING) -> str:
        """The tables in one of `names.TABLE_FORMATS`, each with what its numbers are below it."""
        sizes = " or ".join(f"{size:,}" for size in dict.fromkeys(self.num_samples))
        if self.bootstrap is None:
            spread, mark = f"± standard deviation over {len(self.caches)} caches", ""
        else:
            spread = f"[ ] 95 % of {self.bootstrap.resamples:,} stratified resamples"
            weighted = ", weighted by class" if self.is_weighted else ""
            mark = (
                f" * p < {SIGNIFICANT:g}, McNemar's test{weighted}, Holm's correction over "
                f"{len(self.reports) - 1} comparisons."
            )
        scope = describe_scope(self.class_distribution, self.target_prior)
        notes = Notes(
            rows=f"Split {self.split} {scope}: {sizes} samples of {self.num_classes:,} classes.",
            spread=f"{spread}.",
            gains=f"Overall accuracy less the baseline's, in points.{mark}",
            correlations="rho: Spearman's, of training count and a class's mean margin or logit.",
            marks=f"{BETTER} better, {WORSE} worse than {self._reference}"
            + ("." if self.bootstrap is None else f" beyond chance, {NOT_APART} not told apart."),
        )
        return comparison_text(
            self._cells(),
            notes=notes,
            reference=self._reference,
            table_format=table_format,
            layout=layout,
        )

    @property
    def _reference(self) -> str:
        """What numbers are marked against, under the name that readers see."""
        return next(iter(self._cells()))

    def _repr_html_(self) -> str:
        """Both tables in one, for a notebook."""
        caption = "\n".join((f"Split {self.split}", *self.warnings, *map(str, self.checks)))
        return Table(
            columns=against((*COMPARED_METRICS, *GAINS), self._reference),
            rows=self._cells(),
            caption=caption,
        ).html()

    def _cells(self) -> Mapping[str, Mapping[str, Cell]]:
        """Of the tables, under the names that readers see."""
        cells = {key: report.cells() for key, report in self.reports.items()}
        return marked(named(cells) if any(self.probes) else cells, self.unmoved)

    def save(
        self,
        path: Path,
        table_format: str,
        layout: Layout = EVERYTHING,
        *,
        overwrite: bool = False,
    ) -> None:
        """Write the tables, complete or not at all; `overwrite` replaces whatever file is there."""
        with replacing(path, COMPARISON, overwrite=overwrite) as partial:
            partial.write_text(self.text(table_format, layout) + "\n", encoding="utf-8")

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline compare`."""
        return {
            "command": "compare",
            "caches": list(self.caches),
            "split": self.split,
            "samples": list(self.num_samples),
            "class_distribution": recorded(self.class_distribution),
            "target_prior": recorded(self.target_prior),
            "unmoved": list(self.unmoved),
            "test": self.bootstrap and f"mcnemar-{'weighted' if self.is_weighted else 'exact'}",
            "resamples": self.bootstrap and self.bootstrap.resamples,
            "seed": self.seed,
            "probe": self.probes[0] if len(self.probes) == 1 else list(self.probes),
            "methods": {key: report.record() for key, report in self.reports.items()},
            "skipped": dict(self.skipped),
            "failed": dict(self.failed),
            "warnings": list(self.warnings),
            "checks": [finding.record() for finding in self.checks],
        }


def compare(
    caches: CacheLike | Sequence[CacheLike],
    *,
    methods: str | Sequence[str | Function] | None = None,
    plugins: FileName | Iterable[FileName] = (),
    rectifiers: FileName | Iterable[FileName] = (),
    any_head: bool = False,
    split: str = "test",
    class_distribution: Said | None = None,
    target_prior: Said | None = None,
    groups: str | None = None,
    resamples: int = 2_000,
    seed: int = 0,
    mute: Mute = (),
    progress: Progress = silent,
    say: Callable[[str], None] = lambda warning: None,
) -> Comparison:
    """Fit every method once on each cache, score it, and set it against the baselines.

    A method that these rows cannot bear, or whose loss runs out of finite numbers, is left out; the
    others are compared. One whose fit has no minimum or was stopped stays, and its status says so.

    Args:
        caches: one, or several of the same classes and counts that differ in their seeds.
        methods: keys `METHOD` or `METHOD:PRESET`, or functions as `add_method` takes them; of
            `names.COMPARED` (None) or of all there are (`all`) those that every cache can carry.
        plugins: Python files whose `METHODS` stand beside them.
        rectifiers: files that `rectify` wrote, which stand beside them under their stems; where a
            method has that key, under the file's whole name.
        any_head: accept rectifiers that were fitted on another head.
        split: split that is scored.
        class_distribution: that the metrics are about, the predictions as they are; None for the
            split as it is. See `distribution`.
        target_prior: that the logits of every method are moved to, and the metrics are about; a
            method that stands for no prior is calibrated first, or stays and is marked where that
            cannot be.
        groups: cuts between the shot groups, as `parse_cuts` takes them.
        resamples: of the bootstrap of the intervals on a single cache.
        seed: of the resamples and of `sgd`.
        mute: numbers of checks that are not to speak.
        progress: told the fits of each cache.
        say: told each warning as soon as it is known, which may be long before the last fit.

    Raises:
        CacheError: a cache is invalid, or lacks the split or what a named method needs.
        ConfigError: a key or check that does not exist, the same cache twice, two rectifiers of
            one key, or two distributions.
        PluginError: code of a plugin raised.
        DataError: the caches are of different classes, counts or training methods, a rectifier is
            of another head than one of them, or the distribution does not fit them.
    """
    muted_codes(mute)
    own = add_methods(listed(plugins))
    probed = [
        with_probe(
            opened(cache),
            eval_split=split,
            progress=lambda done, total, note="": progress(0, 1, f"plain probe {done}/{total}"),
        )
        for cache in listed(caches)
    ]
    runs = [cached for cached, _ in probed]
    warnings: dict[str, None] = {}

    def warn(found: Sequence[str]) -> None:
        for warning in found:
            if warning not in warnings:
                warnings[warning] = None
                say(warning)

    for _, found in probed:
        warn(found)
    warn(check_seeds(runs))
    apart = heard([differing_runs(runs)], mute)
    for finding in apart:  # before fits that may take minutes
        say(str(finding))
    asked = methods if methods in (None, "all") else listed(methods)
    keys, skipped = asked_keys(runs, asked, own)
    paths = [Path(file) for file in listed(rectifiers)]
    files = [
        {
            f"{key}.safetensors" if key in keys else key: one
            for key, one in rectifiers_for(
                cached, paths, taken=REFERENCES, any_head=any_head
            ).items()
        }
        for cached in runs
    ]
    bootstrap = Bootstrap(resamples=resamples, seed=seed)
    # Whatever is wrong with a split is said before the first fit.
    populations = []
    for cached in runs:
        labels = cached.split(split).labels
        population, target, missing = scored_under(
            class_distribution, target_prior, labels, cached.class_counts, cached.class_names
        )
        populations.append(population)
        warn(missing)
    reports, checks = [], []
    calibrated, unmoved = dict[str, None](), dict[str, None]()
    failed: dict[str, str] = {}
    for cached, population, given in zip(runs, populations, files, strict=True):
        rows = evaluation_rows(cached, split, groups)
        fits = fit_and_score(
            cached,
            keys,
            rows,
            split=split,
            seed=seed,
            target=target,
            files=given,
            progress=progress,
        )
        failed |= fits.failed
        unmoved |= dict.fromkeys(fits.unmoved)
        calibrated |= dict.fromkeys(fits.calibrated)
        warn(fits.told())
        report = compare_methods(
            fits.scored,
            cached.class_counts,
            population=population,
            bootstrap=bootstrap if len(runs) == 1 else None,
            cuts=rows.cuts,
        )
        reports.append(report)
        checks.append(
            find(
                cached,
                {key: one for key, one in fits.rectifiers.items() if key not in REFERENCES},
                split=split,
                rows=rows,
                scored=population,
                is_moved=target is not None,
                gains=gains({key: one.values() for key, one in report.items()}),
                mute=mute,
            )
        )
    warn(say_moved(calibrated, unmoved))
    is_one = len(runs) == 1
    return Comparison(
        caches=tuple(cached.path for cached in runs),
        split=split,
        class_distribution=class_distribution,
        target_prior=target_prior,
        unmoved=tuple(unmoved),
        bootstrap=bootstrap if is_one else None,
        seed=seed,
        num_samples=[int(population.samples.sum()) for population in populations],
        num_classes=runs[0].num_classes,
        is_weighted=not all(population.is_as_sampled for population in populations),
        reports=reports[0]
        if is_one
        else over_seeds(reports, [key for key in [*keys, *files[0]] if key not in failed]),
        skipped=skipped,
        failed=failed,
        warnings=tuple(warnings),
        checks=heard([*over_caches(checks, runs), *apart]),
        probes=[probe_record(cached) for cached in runs],
    )
