"""Phase two joined: a cache through a fit to a rectifier, its metrics and its document."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from marr_pipeline.notebook import short_repr
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.methods import METHODS, check_heeded
from marr_pipeline.rectify.prior.target import describe_prior
from marr_pipeline.rectify.rectifier_file import save_rectifier
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.tuning import TuningOptions
from marr_pipeline.rectify.tuning.choice import Tuning
from marr_pipeline.report.metrics import Metrics
from marr_pipeline.report.tables import metrics_table, table_of_metrics
from marr_pipeline.workflows.cached import (
    CacheLike,
    closed_form,
    dataset_name,
    evaluation_rows,
    fit_inputs,
    known_rows,
    opened,
    with_fit_split,
)
from marr_pipeline.workflows.calibration import with_calibration
from marr_pipeline.workflows.center import read_center
from marr_pipeline.workflows.checks import find, gains
from marr_pipeline.workflows.distribution import (
    TARGET_PRIOR,
    Said,
    describe_scope,
    moved,
    recorded,
    recorded_prior,
    say_moved,
    split_population,
    target_shares,
)
from marr_pipeline.workflows.suited import FEATURES, features_of
from marr_pipeline.workflows.tuning import (
    default_tuning,
    describe_tuning,
    held_out_inputs,
    tune_on_cache,
)

LINES = ("tempered", "class-means", "gda")
"""Centres known up to a scale, which has a ridge of its own."""
SCORED = ("before", "logit_adjustment", "after")
"""Softmax, the baseline and the fit."""


@dataclass(frozen=True, kw_only=True)
class Rectification:
    """A fit on a cache, with what it is worth.

    Attributes:
        cache: the file.
        settings: of the fit, tuned ones where there was tuning.
        fit: rectifier, status and certificate.
        eval_split: that was scored.
        target_prior: that all logits were moved to, if they were.
        metrics: `SCORED` on the evaluation split, the fit alone where no head has made logits;
            empty without that split.
        num_views: V of the rows fitted.
        is_assumed: whether nothing but the default says if the network has seen the rows fitted.
        summary: K, rows and groups, for the header.
        warnings: for results that stand but need a look.
        checks: what numbered checks found.
        tuning: how gamma, l2 and centre were chosen, if they were.
        path: where the rectifier was written, if it was.
    """

    __repr__ = short_repr

    cache: Path
    settings: RectifySettings
    fit: FitResult
    eval_split: str
    target_prior: Said | None
    metrics: Mapping[str, Metrics]
    num_views: int
    is_assumed: bool
    summary: str
    warnings: list[str]
    checks: tuple[Finding, ...] = ()
    tuning: Tuning | None = None
    path: Path | None = None

    def header(self) -> list[str]:
        """What was fitted, on what."""
        tuned = [] if self.tuning is None else [describe_tuning(self.tuning, self.settings)]
        said = describe_settings(
            self.settings, num_views=self.num_views, is_assumed=self.is_assumed
        )
        return [self.summary, *tuned, said, self.scope()]

    def scope(self) -> str:
        """For which distribution the numbers hold, and which one the probabilities stand for."""
        held = f"split {self.eval_split} {describe_scope(None, self.target_prior)}"
        prior = describe_prior(self.fit.rectifier)
        stands = f"{self.settings.method}'s probabilities are for {prior}"
        if self.target_prior is None:
            stands += "; where classes come otherwise give --target-prior train or FILE"
        return f"{held}; {stands}" if self.metrics else stands

    def table(self) -> str | None:
        """The metrics beside the baselines'; None without a split to score."""
        if not self.metrics:
            return None
        return metrics_table(self._named_metrics(), reference="softmax")

    def _repr_html_(self) -> str:
        """What was fitted, how it ended and what it is worth, for a notebook."""
        found = map(str, self.checks)
        caption = "\n".join((*self.header(), self.certificate(), *self.warnings, *found))
        return table_of_metrics(self._named_metrics(), caption=caption).html()

    def _named_metrics(self) -> dict[str, Metrics]:
        """The metrics under the names that a reader knows them by."""
        names = ("softmax", "logit adjustment", f"after {self.settings.method}")
        known = dict(zip(SCORED, names, strict=True))
        return {known[key]: found for key, found in self.metrics.items()}

    def certificate(self) -> str:
        """How the fit ended, in one line."""
        fit = self.fit
        if fit.loss is None:
            found = ", ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else str(value)
                for name, value in fit.chosen.items()
                if value is not None
            )
            unsaid = "a method of your own" if fit.status is FitStatus.OWN else "nothing to fit"
            return f"{fit.status}: {found or unsaid}, {fit.seconds:.3f} s"
        if fit.gap_bound is None:
            is_open = self.settings.ridge == 0 or self.settings.free_bias
            gap = f"no bound {'without a ridge' if is_open else 'on this loss'}"
        else:
            gap = f"<= {fit.gap_bound:.1e}"
        return (
            f"{fit.status} ({self.settings.optimizer}): loss {fit.loss:.6f}, gap {gap}, gradient "
            f"{fit.gradient_norm:.1e}, {fit.passes:.0f} passes, {fit.seconds:.3f} s"
        )

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline rectify`."""
        fit, settings = self.fit, self.settings
        omega = fit.rectifier.own.get("omega")
        return {
            "command": "rectify",
            "method": settings.method,
            "optimizer": None if fit.loss is None else settings.optimizer,
            "preset": settings.preset,
            "gamma": settings.gamma,
            "l2": settings.l2,
            "center": settings.center,
            "scale_l2": settings.scale_l2 if settings.center in LINES else None,
            "memorised": settings.memorised if settings.center == "tempered" else None,
            "rows": settings.rows,
            "reduction": settings.reduction,
            **fit.record(),
            "grad_norm": fit.gradient_norm,
            "omega": None
            if omega is None
            else {
                "min": float(omega.min()),
                "max": float(omega.max()),
                "mean": float(omega.mean()),
            },
            "target_prior": recorded(self.target_prior),
            "prior": recorded_prior(fit.rectifier),
            "tuning": None if self.tuning is None else self.tuning.record(),
            "warnings": self.warnings,
            "checks": [finding.record() for finding in self.checks],
            "metrics": {
                name: self.metrics[name].record() if name in self.metrics else None
                for name in SCORED
            },
            "rectifier": self.path,
        }


def describe_settings(
    settings: RectifySettings, *, num_views: int, is_assumed: bool = False
) -> str:
    """The objective of a fit, or the rule of a method in closed form, in one line.

    Args:
        settings: of the fit.
        num_views: V of the rows fitted; of one there is no kind.
        is_assumed: whether nothing but the default says what the network has seen.
    """
    method = METHODS[settings.method]
    if not method.is_fitted:
        own = {name: getattr(settings, name) for name in method.own_settings}
        numbers = [f"{name} {value:g}" for name, value in own.items() if isinstance(value, float)]
        return ": ".join([settings.method, *numbers])
    scale = ""
    if settings.center in LINES and settings.scale_l2 is not None:
        scale = f" (scale {settings.scale_l2:.3g})"
    is_head = "normalise" in method.own_settings
    unit = " of the rows' mean square" if is_head and settings.optimizer != "sgd" else ""
    return (
        f"{settings.method} ({settings.preset}): gamma {settings.gamma:g}, l2 {settings.ridge:.3g}"
        f"{unit} to {settings.center}{scale}, {settings.reduction} mean, {settings.fit_split}"
        + (f" {settings.fit_views} views" if num_views > 1 else "")
        + (f", features {settings.normalise}" if is_head else "")
        + (f", tau {settings.known_tau:g}" if is_head and "tau" in method.own_settings else "")
        + (f", rows {settings.rows}{' (assumed)' * is_assumed}" if settings.rows else "")
        + (f", {100 * settings.memorised:.0f} % memorised" if settings.memorised else "")
        + (", free bias" if settings.free_bias else "")
        + (f", {settings.sampling} sampling" if settings.sampling != "instance" else "")
        + (f", {settings.form} form" if "form" in method.own_settings else "")
    )


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
    if path is not None and ranks.is_first:
        save_rectifier(fit.rectifier, path)
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
