"""`report`: one page of HTML that says what rectification did to a model, and what to do."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from marr_pipeline.cache import Cache, CacheError
from marr_pipeline.errors import ConfigError, PipelineError
from marr_pipeline.files import FileName, replacing
from marr_pipeline.findings import Finding, Mute, muted_codes
from marr_pipeline.groups import Cuts, shot_groups
from marr_pipeline.names import REFERENCES
from marr_pipeline.plots import PlotError
from marr_pipeline.plots.save import svg_text
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.fit import canonical_key, parse_method_key
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.comparison import Scored, compare_methods
from marr_pipeline.report.metrics import confusion_counts, measure
from marr_pipeline.report.page import Page, render, words
from marr_pipeline.report.population import as_sampled
from marr_pipeline.report.priors import under_priors
from marr_pipeline.workflows.cached import (
    CacheLike,
    EvaluationRows,
    missing_needs,
    opened,
)
from marr_pipeline.workflows.compare import fit_and_score
from marr_pipeline.workflows.evaluate import Evaluation, evaluate
from marr_pipeline.workflows.figures import FIGURES, draw
from marr_pipeline.workflows.probe import probe_record, with_probe
from marr_pipeline.workflows.rectify import rectify_cache
from marr_pipeline.workflows.repeat import commands
from marr_pipeline.workflows.sweep import sweep

METHODS = ("temperature", "lws", "tau-norm", "marr", "marr:paper", "crt")
"""Beside the references and the rectifiers given; those that a cache cannot carry are named."""
GAMMAS = tuple(round(0.2 * step, 1) for step in range(9))
RIDGES = (0.3, 3.0, 30.0)
COARSE_ABOVE = 5_000_000
"""Logits that are fitted, beyond which every other gamma is swept."""
SLOW_FIGURES = ("gamma",)
"""Those that fit anew; the page's own sweep stands for it."""
PRIOR_STEPS = tuple(round(1 - 0.1 * step, 1) for step in range(21))
"""Exponents t of test priors pi^t, from training's over uniform to its reverse."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A page that was written.

    Attributes:
        path: the file.
        html: its content.
        checks: what numbered checks found.
        passed_over: what the page lacks, by its name, and why.
    """

    path: Path
    html: str
    checks: Sequence[Finding]
    passed_over: Mapping[str, str]

    def _repr_html_(self) -> str:
        """The page, for a notebook, in a frame of its own."""
        return f'<iframe srcdoc="{escape(self.html)}" width="100%" height="800"></iframe>'

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline report`."""
        return {
            "command": "report",
            "report": self.path,
            "checks": [finding.record() for finding in self.checks],
            "passed_over": dict(self.passed_over),
        }


def write_report(
    cache: CacheLike,
    rectifiers: Iterable[Path] = (),
    *,
    output: FileName,
    split: str = "test",
    groups: str | None = None,
    any_head: bool = False,
    methods: Sequence[str] | None = None,
    resamples: int = 1_000,
    mute: Mute = (),
    progress: Progress = silent,
) -> Report:
    """Write the page; without rectifiers MARR's default is fitted and shown.

    Args:
        cache: the cache.
        rectifiers: files that `rectify` wrote; the first one is what the words are about.
        output: the page, `.html`.
        split: split that is scored.
        groups: cuts between the shot groups, as `parse_cuts` takes them.
        any_head: accept rectifiers that were fitted on another head.
        methods: keys of the methods that are compared beside them; None for `METHODS`.
        resamples: of the intervals.
        mute: numbers of checks that are not to speak.
        progress: told the parts of the page.

    Raises:
        CacheError, DataError: as `evaluate`.
        ConfigError: a method or check that does not exist, or an output of another kind.
        PipelineError: the file cannot be written.
    """
    muted_codes(mute)
    output = Path(output)
    if output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{output}: a name ending in .html expected, got {output.suffix!r}")
    parts = ("methods", "checks", "figures", "priors", "sweep", "page")

    def begin(part: str, note: str = "") -> None:
        progress(parts.index(part), len(parts), f"{part}: {note}" if note else part)

    asked = tuple(dict.fromkeys(map(canonical_key, METHODS if methods is None else methods)))
    cached, _ = with_probe(
        opened(cache),
        eval_split=split,
        progress=lambda done, total, note="": begin("methods", f"plain probe {done}/{total}"),
    )
    paths = [Path(path) for path in rectifiers]
    page_options = ["--split", split, "--resamples", str(resamples)]
    if methods is not None:
        page_options += ["--methods", ",".join(asked)]
    if groups is not None:
        page_options += ["--groups", groups]
    shown = _shown(cached, paths, split=split, groups=groups, any_head=any_head, mute=mute)
    begin("methods")
    scored, passed_over = _scored(cached, shown, asked, split=split)
    standings = compare_methods(
        scored,
        cached.class_counts,
        population=as_sampled(shown.rows.labels.numpy(), cached.num_classes),
        bootstrap=Bootstrap(resamples=resamples, seed=0),
        cuts=shown.rows.cuts,
    )
    begin("checks")
    findings = shown.checks
    begin("figures")
    figures, missing = _figures(shown, lambda name: begin("figures", name))
    begin("priors")
    priors = _priors(cached, scored)
    begin("sweep")
    swept = _swept(cached, split, groups, passed_over, lambda note: begin("sweep", note))
    begin("page")
    main = next(key for key in shown.rectifiers if key not in REFERENCES)
    page = Page(
        title=f"Rectified: {_dataset(cached)}",
        words=words(
            _dataset(cached),
            cached.class_counts,
            standings,
            main=main,
            split=split,
            cuts=shown.rows.cuts,
            findings=findings,
        ),
        main=main,
        split=split,
        cuts=shown.rows.cuts,
        standings=standings,
        findings=findings,
        figures=figures,
        classes=_class_rows(cached, scored, main, shown.rows.cuts),
        priors=priors,
        sweep=swept,
        provenance=_provenance(cached, shown.rectifiers),
        commands=commands(
            cached,
            {path: shown.rectifiers[path.stem] for path in paths},
            ridges=RIDGES,
            page_options=page_options,
            any_head=["--any-head"] if any_head else [],
            output=output,
        ),
        passed_over={**passed_over, **missing},
    )
    html = render(page)
    with replacing(output) as partial:
        partial.write_text(html, encoding="utf-8")
    progress(len(parts), len(parts))
    return Report(path=output, html=html, checks=findings, passed_over=page.passed_over)


def _shown(
    cached: Cache,
    rectifiers: Iterable[Path],
    *,
    split: str,
    groups: str | None,
    any_head: bool,
    mute: Mute,
) -> Evaluation:
    """The references, and the rectifiers given or else MARR's default."""
    found = evaluate(cached, rectifiers, split=split, groups=groups, any_head=any_head, mute=mute)
    if len(found.rectifiers) > len(REFERENCES):
        return found
    fitted = rectify_cache(cached, eval_split=split).fit.rectifier
    return replace(found, rectifiers={**found.rectifiers, "marr": fitted})


def _scored(
    cached: Cache, shown: Evaluation, methods: Sequence[str], *, split: str
) -> tuple[dict[str, Scored], dict[str, str]]:
    """What the table compares, the references first, and what it goes without."""
    passed_over: dict[str, str] = {}
    keys = []
    for key in methods:
        missing = missing_needs(cached, parse_method_key(key)[0])
        if missing:
            passed_over[key] = f"needs {' and '.join(missing)}"
        elif key not in shown.rectifiers:
            keys.append(key)
    scored = fit_and_score(
        cached,
        (*REFERENCES, *keys),
        shown.rows,
        split=split,
        seed=0,
        failed=passed_over,
        progress=silent,
    ).scored
    of_files = {
        key: _scored_file(shown.rows, rectifier, scored)
        for key, rectifier in shown.rectifiers.items()
        if key not in REFERENCES
    }
    first = {key: scored.pop(key) for key in REFERENCES}
    given = [one.scores.nll for one in of_files.values()]
    others = {
        key: one
        for key, one in scored.items()
        if not any(np.array_equal(one.scores.nll, nll) for nll in given)  # a file's, once more
    }
    return {**first, **of_files, **others}, passed_over


def _scored_file(
    rows: EvaluationRows, rectifier: Rectifier, fitted: Mapping[str, Scored]
) -> Scored:
    """A rectifier on the rows, and what its file says of the fit.

    How many numbers were fitted it does not say; another fit of the method here has as many.
    """
    counts = (one.facts["parameters"] for one in fitted.values() if one.method == rectifier.method)
    scores, said = rows.scores(rectifier), rectifier.metadata
    averages = rows.averages(rectifier, scores)
    return Scored(
        method=rectifier.method,
        status=str(said.get("status", "closed_form")),
        fit_split=said.get("fit_split"),
        scores=scores,
        facts={
            "margin_correlation": averages.margin_correlation,
            "logit_correlation": averages.logit_correlation,
            "parameters": next(counts, float("nan")),
            "seconds": float(said.get("seconds", "nan")),
        },
    )


def _figures(
    shown: Evaluation, begin: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, str]]:
    """The SVG of each figure by name, and why others are not there."""
    found, missing = {}, {}
    for name in FIGURES:
        if name in SLOW_FIGURES:
            continue
        begin(name)
        try:
            found[name] = svg_text(draw(name, shown), prefix=name)
        except (PipelineError, CacheError, PlotError) as error:
            missing[f"figure {name}"] = str(error)
    return found, missing


def _priors(cached: Cache, scored: Mapping[str, Scored]) -> dict[str, Any]:
    """Accuracy and NLL of every method under test priors pi^t."""
    scores = {key: one.scores for key, one in scored.items()}
    found = under_priors(scores, cached.class_counts, np.array(PRIOR_STEPS))
    table = {
        key: np.stack([100 * curve.accuracy, curve.nll], axis=1).round(4).tolist()
        for key, curve in found.items()
    }
    return {"exponents": PRIOR_STEPS, "methods": table}


def _swept(
    cached: Cache,
    split: str,
    groups: str | None,
    passed_over: dict[str, str],
    begin: Callable[[str], None],
) -> dict[str, Any] | None:
    """Overall accuracy and NLL of MARR over gamma and the strength of its pull."""
    num_logits = len(cached.split("train").labels) * cached.num_classes
    gammas = GAMMAS if num_logits <= COARSE_ABOVE else GAMMAS[::2]
    try:
        found = sweep(
            cached,
            RectifySettings(),
            {"gamma": gammas, "l2": RIDGES},
            eval_split=split,
            groups=groups,
            progress=lambda done, total, note="": begin(f"{done} of {total} fits"),
        )
    except PipelineError as error:
        passed_over["sweep"] = str(error)
        return None
    points = [
        [
            *(point.varied[name] for name in ("gamma", "l2")),
            round(100 * point.metrics.overall, 2),
            *(_percent(getattr(point.metrics, name)) for name in ("many", "medium", "few")),
            round(point.metrics.nll, 4),
        ]
        for point in found.points
    ]
    return {"gammas": gammas, "ridges": RIDGES, "points": points}


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else round(100 * value, 2)


def _class_rows(
    cached: Cache, scored: Mapping[str, Scored], main: str, cuts: Cuts
) -> list[dict[str, Any]]:
    """One class each: what it has, how often it is right, and what it is taken for."""
    num_classes = cached.num_classes
    names = cached.class_names or [str(number) for number in range(num_classes)]
    groups = shot_groups(cached.class_counts, cuts)
    accuracy = {
        key: measure(scored[key].scores, cached.class_counts).per_class
        for key in (*REFERENCES, main)
    }
    wrong = confusion_counts(scored[main].scores, num_classes)
    tested = wrong.sum(1)
    np.fill_diagonal(wrong, 0)
    return [
        {
            "name": str(names[label]),
            "train": int(cached.class_counts[label]),
            "test": int(tested[label]),
            "group": next(name for name, members in groups.items() if members[label]),
            "accuracy": [_percent(float(accuracy[key][label])) for key in (*REFERENCES, main)],
            "taken_for": str(names[wrong[label].argmax()]) if wrong[label].any() else "",
        }
        for label in range(num_classes)
    ]


def _dataset(cached: Cache) -> str:
    provenance = cached.meta("provenance") if "provenance" in cached.documents else None
    name = provenance.get("dataset") if isinstance(provenance, dict) else None
    return str(name or cached.path.stem)


def _provenance(cached: Cache, rectifiers: Mapping[str, Rectifier]) -> dict[str, str]:
    """Where the numbers come from, in short values."""
    config = cached.meta("config") if "config" in cached.documents else {}
    found = {"cache": str(cached.path), "fingerprint": cached.fingerprint}
    probe = probe_record(cached)
    if probe is not None:
        found["softmax"] = f"a plain probe, fitted here on features alone (l2 {probe['l2']:g})"
    if isinstance(config, dict):
        method = (config.get("method") or {}).get("name", "softmax")
        for name, value in (
            ("backbone", config.get("backbone")),
            ("training method", method if "recipe" in config else None),
            ("recipe", json.dumps(config["recipe"]) if "recipe" in config else None),
            ("seed", config.get("seed")),
        ):
            if value is not None:
                found[name] = str(value)
    for key, one in rectifiers.items():
        if key not in REFERENCES:
            shown = {
                name: one.metadata.get(name)
                for name in ("method", "preset", "gamma", "l2", "center", "optimizer", "status")
            }
            found[f"rectifier {key}"] = ", ".join(
                f"{name} {value}" for name, value in shown.items() if value is not None
            )
    return found
