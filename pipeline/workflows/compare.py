"""Every method on one cache, or on several that differ in their seeds, each set against the
baselines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marr_pipeline.cache import Cache, open_cache
from marr_pipeline.errors import FitError
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.presets import method_keys, parse_method_key
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.comparison import (
    REFERENCES,
    Scored,
    Standing,
    compare_methods,
    over_seeds,
)
from marr_pipeline.report.tables import comparison_text
from marr_pipeline.report.tables.table import SIGNIFICANT
from marr_pipeline.workflows.cached import evaluation_rows
from marr_pipeline.workflows.class_distribution import describe_distribution, split_population
from marr_pipeline.workflows.method_fit import check_needs, fit_key, missing_needs
from marr_pipeline.workflows.seeds import check_seeds, other_differences


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """What is compared, on what.

    Attributes:
        methods: keys `METHOD` or `METHOD:PRESET`; None for all that every cache can carry.
        split: split that is scored.
        prior: class distribution, see `class_distribution`; None for the split as it is.
        bootstrap: of the intervals on a single cache; its seed is also that of `sgd`.
    """

    methods: Sequence[str] | None = None
    split: str = "test"
    prior: str | None = None
    bootstrap: Bootstrap = field(default_factory=Bootstrap)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The methods on one cache or on several.

    Attributes:
        caches: the files.
        settings: of the comparison.
        num_samples: of the split, in each cache.
        num_classes: K.
        is_weighted: whether samples of different classes count differently.
        reports: by key, the references first.
        skipped: by key, what the caches lack for a method.
        failed: by key, why a fit came to nothing on one of the caches.
        warnings: for results that stand but need a look.
    """

    caches: Sequence[Path]
    settings: ComparisonSettings
    num_samples: Sequence[int]
    num_classes: int
    is_weighted: bool
    reports: Mapping[str, Standing]
    skipped: Mapping[str, str]
    failed: Mapping[str, str]
    warnings: Sequence[str]

    @property
    def is_over_seeds(self) -> bool:
        """Whether the numbers are means over several caches."""
        return len(self.caches) > 1

    def metrics_caption(self) -> str:
        """Which samples were scored, and what stands beside a number."""
        sizes = " or ".join(f"{size:,}" for size in dict.fromkeys(self.num_samples))
        spread = (
            f"± standard deviation over {len(self.caches)} caches"
            if self.is_over_seeds
            else f"[ ] 95 % of {self.settings.bootstrap.resamples:,} stratified resamples"
        )
        return (
            f"Split {self.settings.split} {describe_distribution(self.settings.prior)}: {sizes} "
            f"samples of {self.num_classes:,} classes. {spread}."
        )

    def gains_caption(self) -> str:
        """What a difference, its mark and a correlation are."""
        weighted = ", weighted by class" if self.is_weighted else ""
        mark = (
            f" * p < {SIGNIFICANT:g}, McNemar's test{weighted}, Holm's correction over "
            f"{len(self.reports) - 1} comparisons."
        )
        return (
            f"Overall accuracy less the baseline's, in points.{'' if self.is_over_seeds else mark} "
            "rho: Spearman's, of training count and a class's mean margin or logit."
        )

    def text(self, table_format: str) -> str:
        """The tables in one of `names.TABLE_FORMATS`."""
        return comparison_text(
            {key: report.cells() for key, report in self.reports.items()},
            captions=(self.metrics_caption(), self.gains_caption()),
            table_format=table_format,
        )

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline compare`."""
        bootstrap = self.settings.bootstrap
        return {
            "command": "compare",
            "caches": list(self.caches),
            "split": self.settings.split,
            "samples": list(self.num_samples),
            "prior": self.settings.prior,
            "test": None
            if self.is_over_seeds
            else f"mcnemar-{'weighted' if self.is_weighted else 'exact'}",
            "resamples": None if self.is_over_seeds else bootstrap.resamples,
            "seed": bootstrap.seed,
            "methods": {key: report.record() for key, report in self.reports.items()},
            "skipped": dict(self.skipped),
            "failed": dict(self.failed),
            "warnings": list(self.warnings),
        }


def compare_caches(
    paths: Sequence[Path],
    settings: ComparisonSettings,
    *,
    progress: Progress = silent,
) -> Comparison:
    """Fit every method once on each cache, score it, and set it against the baselines.

    A method whose loss runs out of finite numbers is left out; the others are compared.

    Args:
        paths: one cache, or several of the same classes and counts that differ in their seeds.
        settings: what is compared.
        progress: told the fits of each cache.

    Raises:
        CacheError: a cache is invalid, or lacks the split or what a named method needs.
        ConfigError: a key that does not exist, or the same cache twice.
        DataError: the caches are of different classes or counts, or the prior does not fit them.
    """
    caches = [open_cache(path) for path in paths]
    check_seeds(caches)
    keys, skipped = carried_keys(caches, settings.methods)
    # Whatever is wrong with a split is said before the first fit.
    populations, warnings = [], other_differences(caches)
    for cached in caches:
        labels = cached.split(settings.split).labels
        population, missing = split_population(settings.prior, labels, cached.class_counts)
        populations.append(population)
        warnings += missing
    runs = []
    failed: dict[str, str] = {}
    for cached, population in zip(caches, populations, strict=True):
        scored, told = _fit_and_score(cached, keys, settings, failed=failed, progress=progress)
        warnings += _fit_warnings(told)
        runs.append(
            compare_methods(
                scored,
                cached.class_counts,
                population=population,
                bootstrap=settings.bootstrap if len(caches) == 1 else None,
            )
        )
    return Comparison(
        caches=tuple(paths),
        settings=settings,
        num_samples=[int(population.samples.sum()) for population in populations],
        num_classes=caches[0].num_classes,
        is_weighted=not all(population.is_as_sampled for population in populations),
        reports=runs[0]
        if len(runs) == 1
        else over_seeds(runs, [key for key in keys if key not in failed]),
        skipped=skipped,
        failed=failed,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _fit_and_score(
    cached: Cache,
    keys: Sequence[str],
    settings: ComparisonSettings,
    *,
    failed: dict[str, str],
    progress: Progress,
) -> tuple[dict[str, Scored], dict[str, Sequence[str]]]:
    """Those of `keys` whose fit came to something, and their warnings; others join `failed`."""
    rows = evaluation_rows(cached, settings.split)
    scored: dict[str, Scored] = {}
    warnings: dict[str, Sequence[str]] = {}
    for number, key in enumerate(keys):
        progress(number, len(keys), key)
        try:
            fit = fit_key(
                cached, key, seed=settings.bootstrap.seed, progress=_inner(progress, number, keys)
            )
        except FitError as error:
            failed[key] = f"{cached.path}: {error}"
            continue
        scores = rows.scores(fit.rectifier)
        averages = rows.averages(fit.rectifier, scores)
        scored[key] = Scored(
            method=fit.rectifier.method,
            status=str(fit.status),
            scores=scores,
            facts={
                "margin_correlation": averages.margin_correlation,
                "logit_correlation": averages.logit_correlation,
                "parameters": fit.num_parameters,
                "seconds": fit.seconds,
            },
        )
        warnings[key] = fit.warnings
    progress(len(keys), len(keys))
    return scored, warnings


def _inner(progress: Progress, number: int, keys: Sequence[str]) -> Progress:
    """Progress of one fit as part of that of all: a whole head may take minutes."""

    def tell(done: int, total: int, note: str = "") -> None:
        progress(number, len(keys), f"{keys[number]}: {note}")

    return tell


def carried_keys(
    caches: Sequence[Cache], asked: Sequence[str] | None
) -> tuple[list[str], dict[str, str]]:
    """The methods that are fitted, the references first, and what the caches lack for others.

    Args:
        caches: each must carry every method that is fitted.
        asked: keys; None for every method with every preset of its own.

    Raises:
        CacheError: a cache lacks what a method needs that was asked for.
        ConfigError: a key that does not exist.
    """
    if asked is not None:
        methods = [parse_method_key(key) for key in asked]
        for cached in caches:
            for method, _ in methods:
                check_needs(cached, method)
        found = [name if preset == "default" else f"{name}:{preset}" for name, preset in methods]
        return list(dict.fromkeys([*REFERENCES, *found])), {}
    skipped = {}
    for key in method_keys():
        missing = {
            need for cached in caches for need in missing_needs(cached, parse_method_key(key)[0])
        }
        if missing:
            skipped[key] = f"needs {' and '.join(sorted(missing))}"
    kept = [key for key in method_keys() if key not in skipped]
    return list(dict.fromkeys([*REFERENCES, *kept])), skipped


def _fit_warnings(told: Mapping[str, Sequence[str]]) -> list[str]:
    """Each warning once, with the methods that it is about unless it is about all of them."""
    about: dict[str, list[str]] = {}
    for key, warnings in told.items():
        for warning in warnings:
            about.setdefault(warning, []).append(key)
    return [
        warning if len(keys) == len(told) else f"{', '.join(keys)}: {warning}"
        for warning, keys in about.items()
    ]
