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
from marr_pipeline.files import REPORT, FileName, listed, replacing
from marr_pipeline.findings import Finding, Mute, muted_codes
from marr_pipeline.names import COMPARED, REFERENCES
from marr_pipeline.notebook import short_repr
from marr_pipeline.plots import PlotError
from marr_pipeline.plots.save import svg_text
from marr_pipeline.progress import Progress, printable, silent
from marr_pipeline.rectify.fit import canonical_key
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.classes import Classes
from marr_pipeline.report.comparison import Scored, Standing, compare_methods
from marr_pipeline.report.metrics import confusion_counts
from marr_pipeline.report.page import Page, render
from marr_pipeline.report.population import as_sampled, under_priors
from marr_pipeline.report.scores import SampleScores
from marr_pipeline.report.words import Subject, words
from marr_pipeline.workflows.cached import CacheLike, dataset_name, is_imported, opened
from marr_pipeline.workflows.evaluate import Evaluation, evaluate
from marr_pipeline.workflows.figures import FIGURES, draw
from marr_pipeline.workflows.fits import carried_keys, fit_and_score
from marr_pipeline.workflows.probe import probe_record, with_probe
from marr_pipeline.workflows.rectify import rectify_cache, resolve_settings
from marr_pipeline.workflows.repeat import commands
from marr_pipeline.workflows.sweep import sweep

GAMMAS = tuple(round(0.2 * step, 1) for step in range(9))
RIDGES = (0.3, 3.0, 30.0)
COARSE_ABOVE = 5_000_000
"""Logits that are fitted, beyond which every other gamma is swept."""
SLOW_FIGURES = ("gamma",)
"""Those that fit anew; the page's own sweep stands for it."""
SWEPT = ("overall", "balanced", "many", "medium", "few")
PRIOR_STEPS = tuple(round(1 - 0.1 * step, 1) for step in range(21))
"""Exponents t of test priors pi^t, from training's over uniform to its reverse."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A page that was written.

    Attributes:
        path: the file.
        html: its content.
        words: paragraphs of it, on what happened and what to do.
        checks: what numbered checks found.
        passed_over: what the page lacks, by its name, and why.
    """

    __repr__ = short_repr

    path: Path
    html: str
    words: Sequence[str]
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
    rectifiers: FileName | Iterable[FileName] = (),
    *,
    output: FileName,
    overwrite: bool = False,
    split: str = "test",
    groups: str | None = None,
    any_head: bool = False,
    methods: str | Sequence[str] | None = None,
    resamples: int = 1_000,
    mute: Mute = (),
    progress: Progress = silent,
) -> Report:
    """Write the page; without rectifiers MARR's default is fitted and shown.

    Args:
        cache: the cache.
        rectifiers: files that `rectify` wrote; the first one is what the words are about.
        output: the page, `.html`.
        overwrite: replace whatever file is there, not a report alone.
        split: split that is scored.
        groups: cuts between the shot groups, as `parse_cuts` takes them.
        any_head: accept rectifiers that were fitted on another head.
        methods: keys of the methods that are compared beside them; None for
            `names.COMPARED`. Those that the cache cannot carry are named.
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

    asked = tuple(
        dict.fromkeys(map(canonical_key, COMPARED if methods is None else listed(methods)))
    )
    cached, _ = with_probe(
        opened(cache),
        eval_split=split,
        progress=lambda done, total, note="": begin("methods", f"plain probe {done}/{total}"),
    )
    paths = [Path(path) for path in listed(rectifiers)]
    page_options = ["--split", split, "--resamples", str(resamples)]
    if methods is not None:
        page_options += ["--methods", ",".join(asked)]
    if groups is not None:
        page_options += ["--groups", groups]
    shown = _shown(cached, paths, split=split, groups=groups, any_head=any_head, mute=mute)
    begin("methods")
    scored, passed_over = _scored(
        cached,
        shown,
        asked,
        split=split,
        progress=lambda done, total, note="": begin("methods", note),
    )
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
    subject = Subject(
        dataset=dataset_name(cached) or cached.path.stem,
        class_counts=cached.class_counts,
        split=split,
        cuts=shown.rows.cuts,
        unit="samples" if is_imported(cached) else "images",
        names=shown.names,
    )
    page = Page(
        subject=subject,
        words=words(subject, standings, main=main, findings=findings),
        main=main,
        standings=standings,
        findings=findings,
        figures=figures,
        classes=_class_rows(shown.classes, standings, scored[main].scores, main),
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
    html = printable(render(page))
    with replacing(output, REPORT, overwrite=overwrite) as partial:
        partial.write_text(html, encoding="utf-8")
    progress(len(parts), len(parts))
    return Report(
        path=output, html=html, words=page.words, checks=findings, passed_over=page.passed_over
    )


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
    cached: Cache, shown: Evaluation, methods: Sequence[str], *, split: str, progress: Progress
) -> tuple[dict[str, Scored], dict[str, str]]:
    """What the table compares, the references first, and what it goes without."""
    keys, skipped = carried_keys([cached], methods)
    fitted = [key for key in keys if key in REFERENCES or key not in shown.rectifiers]
    files = {key: one for key, one in shown.rectifiers.items() if key not in REFERENCES}
    fits = fit_and_score(
        cached, fitted, shown.rows, split=split, seed=0, files=files, progress=progress
    )
    scored = fits.scored
    of_files = {key: scored.pop(key) for key in files}
    first = {key: scored.pop(key) for key in REFERENCES}
    given = [one.scores.nll for one in of_files.values()]
    others = {
        key: one
        for key, one in scored.items()
        if not any(np.array_equal(one.scores.nll, nll) for nll in given)  # a file's, once more
    }
    return {**first, **of_files, **others}, {**skipped, **fits.failed}


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
    own = resolve_settings(cached)
    num_logits = len(cached.split("train").labels) * cached.num_classes
    gammas = sorted({*(GAMMAS if num_logits <= COARSE_ABOVE else GAMMAS[::2]), own.gamma})
    try:
        found = sweep(
            cached,
            own,
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
            *(_percent(getattr(point.metrics, name)) for name in SWEPT),
            round(point.metrics.nll, 4),
        ]
        for point in found.points
    ]
    return {"gammas": gammas, "own": own.gamma, "ridges": RIDGES, "points": points}


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else round(100 * value, 2)


def _class_rows(
    classes: Classes, standings: Mapping[str, Standing], scores: SampleScores, main: str
) -> list[dict[str, Any]]:
    """One class each: what it has, how often it is right, and what it is taken for."""
    names = classes.names
    wrong = confusion_counts(scores, len(names))
    np.fill_diagonal(wrong, 0)
    taken_for = [names[each.argmax()] if each.any() else "" for each in wrong]
    shown = [standings[key].per_class.tolist() for key in (*REFERENCES, main)]
    accuracy = [[_percent(each) for each in of_class] for of_class in zip(*shown, strict=True)]
    keys = ("name", "train", "test", "group", "accuracy", "taken_for")
    numbers = (classes.class_counts.tolist(), classes.samples.tolist(), classes.groups)
    return [
        dict(zip(keys, each, strict=True))
        for each in zip(names, *numbers, accuracy, taken_for, strict=True)
    ]


def _provenance(cached: Cache, rectifiers: Mapping[str, Rectifier]) -> dict[str, str]:
    """Where the numbers come from, in short values."""
    config = cached.meta("config") if "config" in cached.documents else {}
    found: dict[str, Any] = {"cache": cached.path, "fingerprint": cached.fingerprint}
    probe = probe_record(cached)
    if probe is not None:
        found["plain probe"] = f"fitted here on features alone (l2 {probe['l2']:g})"
    if isinstance(config, dict):
        found["backbone"], found["seed"] = config.get("backbone"), config.get("seed")
        if "recipe" in config:
            found["training method"] = (config.get("method") or {}).get("name", "softmax")
            found["recipe"] = json.dumps(config["recipe"])
    names = ("method", "preset", "gamma", "l2", "center", "optimizer", "status")
    for key, one in rectifiers.items():
        if key not in REFERENCES:
            said = [(name, one.metadata.get(name)) for name in names]
            found[f"rectifier {key}"] = ", ".join(f"{a} {b}" for a, b in said if b is not None)
    return {name: str(value) for name, value in found.items() if value is not None}
