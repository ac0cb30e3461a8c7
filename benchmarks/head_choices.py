"""What each head on frozen features is worth: centres, closed forms, and rectifiers on a probe.

    python benchmarks/head_choices.py cifar100-r100.h5 [-o FILE.json]

The cache holds features alone (`pipeline import`, `pipeline extract --store features`). Strengths,
shrinkages and scales are chosen by cross-validation over its training rows; test rows are scored
once. Rectifiers run on the plain probe's logits of its own training rows, and, marked `held out`,
on the logits that probes of four fifths of the rows give the fifth that they have not seen. Each
method is compared with the probe and with its logit adjustment, row by row: intervals of 95 % from
stratified resamples, McNemar's test with Holm's correction. The table is Markdown.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from harness import as_written, machine

from marr_pipeline.cache import Cache
from marr_pipeline.progress import ProgressLine
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.rows.folds import NEVER_HELD_OUT, stratified_folds
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.compared import Layout, comparison_text
from marr_pipeline.report.comparison import Scored, compare_methods
from marr_pipeline.report.population import as_sampled
from marr_pipeline.workflows.cached import dataset_name, fit_inputs, opened, with_fit_split
from marr_pipeline.workflows.probe import probe_record, with_probe
from marr_pipeline.workflows.rectify import rectify_cache
from marr_pipeline.workflows.scored_rows import evaluation_rows
from marr_pipeline.workflows.tuning import default_tuning

HEADS: dict[str, dict[str, Any]] = {
    "crt": {"method": "crt", "normalise": "unit"},
    "balanced-softmax-head": {"method": "balanced-softmax-head", "normalise": "unit"},
    "head": {"method": "head"},
    "head, to zero": {"method": "head", "center": "zero"},
    "head, to zero, standard": {"method": "head", "center": "zero", "normalise": "standard"},
    "head, to class means": {"method": "head", "center": "class-means"},
    "head, to gda": {"method": "head", "center": "gda"},
    "ncm": {"method": "ncm"},
    "gda": {"method": "gda"},
}
RECTIFIERS = ("temperature", "bcts", "tau-norm", "lws", "marr", "marr:paper")
ON_HELD_OUT = ("bcts", "vector-scaling", "marr", "marr:paper")
FOLDS = 5


def settings_of(cached: Cache, key: str, **given: Any) -> RectifySettings:
    """A method's settings for a cache, by `METHOD` or `METHOD:PRESET`."""
    method, _, preset = key.partition(":")
    dataset = dataset_name(cached)
    settings = preset_settings(preset or "default", method=method, dataset=dataset, **given)
    return with_fit_split(cached, settings)


def held_out_logits(bare: Cache, inputs: FitInputs, l2: float) -> FitInputs:
    """`inputs` with the logits that probes of the other folds give each row.

    The only row of a class keeps those of the probe of all rows.
    """
    folds = stratified_folds(inputs.labels, num_folds=FOLDS, seed=0)
    whole, _ = inputs.source()
    logits = whole.block(slice(0, whole.num_rows)).float().clone()
    settings = settings_of(bare, "head", tau=0.0, l2=l2)
    features = inputs.feature_rows("head")
    for fold in range(int(folds.max()) + 1):
        seen = folds != fold
        part = replace(
            inputs, logits=None, features=features[seen][None], labels=inputs.labels[seen]
        )
        probe = fit_rectifier(part, settings).rectifier
        logits[~seen] = probe.apply(None, features[~seen]).float()
    assert int((folds == NEVER_HELD_OUT).sum()) < len(folds)
    return replace(inputs, logits=logits[None], features=None)


@click.command(help=as_written(__doc__))
@click.argument("cache", type=click.Path(exists=True, path_type=Path))
@click.option("--resamples", default=2_000, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(cache: Path, resamples: int, output: Path | None) -> None:
    """Fit, score, compare, print."""
    bare = opened(cache)
    if bare.head is not None:
        raise click.ClickException(f"{cache}: a cache of features alone expected")
    scored: dict[str, Scored] = {}
    seconds: dict[str, float] = {}
    chosen: dict[str, dict[str, Any]] = {}
    told = ProgressLine("heads", unit=" methods")
    total = 2 + len(HEADS) + len(RECTIFIERS) + len(ON_HELD_OUT)

    def keep(name: str, fit: FitResult, settings: RectifySettings, begin: float) -> None:
        scored[name] = rows.scored(fit, settings)
        seconds[name] = time.perf_counter() - begin
        chosen[name] = {
            "l2": settings.l2,
            "center": settings.center,
            **fit.chosen,
            **fit.record(),
        }
        told(len(scored), total, name)

    begin = time.perf_counter()
    probed, _ = with_probe(bare, eval_split="test")
    probe_seconds = time.perf_counter() - begin
    rows = evaluation_rows(probed, "test")
    for key in ("softmax", "logit-adjustment", *RECTIFIERS):
        begin = time.perf_counter()
        settings = settings_of(probed, key)
        inputs, _ = fit_inputs(probed, settings)
        fit = fit_rectifier(inputs, settings)
        keep(
            key if key in ("softmax", "logit-adjustment") else f"probe + {key}",
            fit,
            settings,
            begin,
        )
    record = probe_record(probed)
    assert record is not None
    chosen["softmax"] = record
    seconds["softmax"] = probe_seconds
    others = held_out_logits(bare, inputs, record["l2"])
    for key in ON_HELD_OUT:
        begin = time.perf_counter()
        settings = settings_of(probed, key)
        keep(f"probe + {key}, held out", fit_rectifier(others, settings), settings, begin)
    for name, given in HEADS.items():
        begin = time.perf_counter()
        given = dict(given)
        settings = settings_of(bare, given.pop("method"), **given)
        found = rectify_cache(bare, settings, tune=default_tuning(settings.method, given))
        keep(name, found.fit, found.settings, begin)
    labels = rows.labels.numpy()
    standings = compare_methods(
        scored,
        bare.class_counts,
        population=as_sampled(labels, bare.num_classes),
        bootstrap=Bootstrap(resamples=resamples, seed=0),
    )
    cells = {key: standing.cells() for key, standing in standings.items()}
    columns = ("overall", "many", "medium", "few", "nll", "ece", "vs_logit_adjustment")
    print(comparison_text(cells, table_format="markdown", layout=Layout(columns=columns)))
    if output is not None:
        document = {
            "benchmark": "head_choices",
            "command": f"python benchmarks/head_choices.py {cache.name}",
            "fingerprint": bare.fingerprint,
            "machine": machine(),
            "torch_threads": torch.get_num_threads(),
            "methods": {
                key: {
                    **standing.record(),
                    "whole_seconds": seconds[key],
                    "chosen": chosen[key],
                }
                for key, standing in standings.items()
            },
        }
        finite = json.loads(json.dumps(document, default=str), parse_constant=lambda _: None)
        output.write_text(json.dumps(finite, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
