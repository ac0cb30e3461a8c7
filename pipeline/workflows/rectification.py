"""A fit on a cache, with what it is worth, in words, tables and JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marr_pipeline.findings import Finding
from marr_pipeline.notebook import short_repr
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.prior.target import describe_prior
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.tuning.choice import Tuning
from marr_pipeline.report.metrics import Metrics
from marr_pipeline.report.tables import metrics_table, table_of_metrics
from marr_pipeline.workflows.distribution import Said, describe_scope, recorded, recorded_prior
from marr_pipeline.workflows.tuning import describe_tuning

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
