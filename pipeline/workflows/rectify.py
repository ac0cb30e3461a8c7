"""Phase two joined: a cache through a fit to a rectifier, its metrics and its document."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from marr_pipeline import __version__
from marr_pipeline.cache import Cache
from marr_pipeline.device import resolve_device
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.files import FileName
from marr_pipeline.findings import Finding, Mute, muted_codes
from marr_pipeline.groups import parse_cuts, shot_groups
from marr_pipeline.names import REFERENCES
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.methods import METHODS, check_heeded
from marr_pipeline.rectify.rectifier_file import save_rectifier
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.tuning import TuningOptions
from marr_pipeline.report.metrics import Metrics
from marr_pipeline.workflows.arrays.head import read_center
from marr_pipeline.workflows.cached import (
    CacheLike,
    dataset_name,
    fit_inputs,
    known_rows,
    opened,
    with_fit_split,
)
from marr_pipeline.workflows.calibration import with_calibration
from marr_pipeline.workflows.checks import find, gains
from marr_pipeline.workflows.distribution import (
    TARGET_PRIOR,
    Said,
    moved,
    recorded,
    say_moved,
    split_population,
    target_shares,
)
from marr_pipeline.workflows.rectification import SCORED, Rectification
from marr_pipeline.workflows.scored_rows import closed_form, evaluation_rows
from marr_pipeline.workflows.suited import FEATURES, features_of
from marr_pipeline.workflows.tuning import default_tuning, held_out_inputs, tune_on_cache


def resolve_settings(
    cache: CacheLike, preset: str = "default", overrides: Mapping[str, Any] | None = None
) -> RectifySettings:
    """A preset for the dataset of a cache, with the options that were given (not None).

    Raises:
        ConfigError: a setting is out of range, or of another method.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    check_heeded(given.get("method", "marr"), given)
    return preset_settings(preset, dataset=dataset_name(opened(cache)), **given)


def rectify_cache(
    cache: CacheLike,
    settings: RectifySettings | None = None,
    *,
    tune: TuningOptions | Literal["method"] | None = "method",
    center: Path | None = None,
    source: str | None = None,
    eval_split: str = "test",
    groups: str | None = None,
    target_prior: Said | None = None,
    output: FileName | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    memory: int | None = None,
    ranks: Ranks = ALONE,
    mute: Mute = (),
    progress: Progress = silent,
    tuning_progress: Progress = silent,
) -> Rectification:
    """Read, tune if asked to, fit, score, write.

    Args:
        cache: the cache.
        settings: what is minimised and how; None for the default preset.
        tune: how to choose gamma, l2 and centre; `method` as the method has it by default, None
            keeps those of the settings.
        center: the head or matrix that the settings' centre `file` is.
        source: `logits` or `features`; None takes the logits where there are some.
        eval_split: split that is scored; without it there are no metrics, and a warning.
        groups: cuts between the shot groups, as `parse_cuts` takes them.
        target_prior: class shares of the place where the rectifier is used, see `distribution`.
            Its logits and those of the baselines are moved to them, and scored under them; None
            for the prior that the method stands for.
        output: where the rectifier goes, `.safetensors`.
        overwrite: replace whatever file is there, not a rectifier alone.
        device: where the fit runs.
        memory: bytes that the fit's buffers may take; None for no bound.
        ranks: the processes that share the rows, each of which calls this; only the first scores
            and writes.
        mute: numbers of checks that are not to speak.
        progress: told the passes of the fit, or the iterations of sgd.
        tuning_progress: told the fits of tuning.

    Raises:
        CacheError: the cache is invalid or lacks what the settings ask for.
        ConfigError: a setting that this cache cannot bear, or no such check.
        DataError: a target prior of other classes, or a method that stands for none.
        LeakError: test samples would be fitted, or tuning would choose on them.
        FitError: the loss ran out of finite numbers.
        PipelineError: `output` cannot be written.
    """
    muted_codes(mute)
    cached = opened(cache)
    settings = with_fit_split(cached, settings or resolve_settings(cached))
    counts, names = cached.class_counts, cached.class_names
    target = target_shares(target_prior, counts, names)  # what is wrong with it is said first
    is_assumed = settings.rows is None and known_rows(cached, str(settings.fit_split)) is None
    where = resolve_device(device)
    inputs, warnings = fit_inputs(cached, settings, source=source, device=where)
    if center is not None:
        inputs = replace(
            inputs, center=read_center(center, inputs.num_classes, cached.num_features)
        )
    if tune == "method":
        tune = default_tuning(settings.method, {})
    if tune is not None and settings.method == "logit-adjustment":
        tune, settings = None, replace(settings, tau=None)
    resources = Resources(memory=memory, ranks=ranks)
    tuning, needs = None, METHODS[settings.method].needs
    if tune is not None:
        tuning, tuning_warnings = tune_on_cache(
            cached,
            inputs,
            settings,
            options=tune,
            eval_split=eval_split,
            progress=tuning_progress,
            resources=resources,
        )
        settings = tuning.chosen.settings
        warnings += tuning_warnings
    fit = fit_rectifier(
        inputs,
        settings,
        dataset=dataset_name(cached),
        metadata={
            "cache_fingerprint": cached.fingerprint,
            "head_fingerprint": cached.head_fingerprint,
            **({} if cached.class_names is None else {"class_names": list(cached.class_names)}),
            **({"scores": cached.meta("scale")} if "scale" in cached.documents else {}),
            **({FEATURES: features_of(cached)} if "features" in needs else {}),
            **({} if center is None else {"center_file": str(center)}),
            **({} if target_prior is None else {"target_prior": recorded(target_prior)}),
            "tuning": None if tuning is None else tuning.summary(),
            "versions": {"marr-pipeline": __version__, "torch": str(torch.__version__)},
        },
        held_out=held_out_inputs(cached, settings, where),
        progress=progress,
        resources=resources,
    )
    found = fit.rectifier.metadata
    settings = replace(settings, **{name: found[name] for name in found.get("from_rows", ())})
    is_written = output is not None and ranks.is_first
    if is_written or (target is not None and fit.rectifier.log_prior is None):
        rectifier = with_calibration(cached, fit, inputs, settings, is_tuned=tuning is not None)
        fit = replace(fit, rectifier=rectifier)
    if target is not None:
        warnings += say_moved([settings.method] * (fit.rectifier.log_prior is None))
        fit = replace(fit, rectifier=moved(fit.rectifier, target))
    metrics: dict[str, Metrics] = {}
    rows = population = None
    if eval_split not in cached.splits:
        have = ", ".join(cached.splits)
        warnings.append(f"{cached.path}: no split {eval_split} to score on, it has {have}")
    elif ranks.is_first:
        rows = evaluation_rows(cached, eval_split, groups)
        population, unseen = split_population(
            target_prior, rows.labels.numpy(), counts, names, option=TARGET_PRIOR
        )
        warnings += unseen
        references = () if cached.head is None else REFERENCES
        baselines = [closed_form(cached, name) for name in references]
        if target is not None:
            baselines = [moved(one, target) for one in baselines]
        shown = (*baselines, fit.rectifier)
        scored = SCORED[-len(shown) :]
        metrics = {
            name: rows.metrics(one, population) for name, one in zip(scored, shown, strict=True)
        }
    head = cached.head
    has_norms = head is None or head.weight is not None or bool((head.weight_norm != 1).any())
    if settings.method == "marr" and not has_norms:
        warnings.append("no weight norms in this cache: with all of them 1, marr is vector scaling")
    path = None if output is None else Path(output)
    cached.require_unchanged()
    if path is not None and ranks.is_first:
        save_rectifier(fit.rectifier, path, overwrite=overwrite)
    checks: tuple[Finding, ...] = ()
    if ranks.is_first:
        named = {"before": "softmax", "after": settings.method}
        compared = {named[key]: one.summaries() for key, one in metrics.items() if key in named}
        checks = find(
            cached,
            {settings.method: fit.rectifier},
            split=eval_split,
            rows=rows,
            scored=population,
            is_moved=target is not None,
            gains=gains(compared),
            fitted={str(settings.fit_split): inputs},
            mute=mute,
        )
    return Rectification(
        cache=cached.path,
        settings=settings,
        fit=fit,
        eval_split=eval_split,
        target_prior=target_prior,
        metrics=metrics,
        num_views=inputs.num_views,
        is_assumed=is_assumed,
        summary=_summary(cached, inputs.num_views, len(inputs.labels), groups),
        warnings=warnings + list(fit.warnings),
        checks=checks,
        tuning=tuning,
        path=path,
    )


def _summary(cached: Cache, num_views: int, num_samples: int, said: str | None) -> str:
    counts = cached.class_counts
    members = shot_groups(counts, parse_cuts(said, counts))
    groups = [f"{name} {classes.sum()}" for name, classes in members.items()]
    return (
        f"{cached.path}: {cached.num_classes} classes of {counts.max():,} to {counts.min():,} "
        f"samples ({', '.join(groups)}); {num_views} x {num_samples:,} rows; "
        f"cache {cached.fingerprint[:12]}"
    )
