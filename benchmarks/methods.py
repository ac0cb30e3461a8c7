"""What training methods are worth on the same test images, alone and under rectification.

    python benchmarks/methods.py softmax.h5 focal.h5 ... [-o FILE.json]

Each cache is of one training (`pipeline extract --method NAME`) of the same dataset. Its network is
scored as it is, under logit adjustment and under MARR's default, and all are compared with plain
softmax and its logit adjustment, image by image: intervals of 95 % from stratified resamples,
McNemar's test with Holm's correction. The table is Markdown.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from harness import as_written, machine

from marr_pipeline.cache import Cache, open_cache
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.compared import comparison_text
from marr_pipeline.report.comparison import Scored, compare_methods
from marr_pipeline.report.population import as_sampled
from marr_pipeline.workflows.cached import dataset_name, fit_inputs, with_fit_split
from marr_pipeline.workflows.scored_rows import evaluation_rows

RECTIFIERS = {"": "softmax", " + logit-adjustment": "logit-adjustment", " + marr": "marr"}


def trained_by(cached: Cache) -> str:
    """The method of a cache's network, and what was added to its recipe."""
    config: Any = cached.meta("config")
    recipe, method = config["recipe"], config.get("method", {"name": "softmax", "options": {}})
    smoothing = method["options"].get("label_smoothing", 0)
    extras = [
        *([recipe["mixing"]] if "mixing" in recipe else []),
        *([f"ema {recipe['ema']:g}"] if "ema" in recipe else []),
        *([f"smoothing {smoothing:g}"] if smoothing else []),
        *([f"weight decay {recipe['weight_decay']:g}"] if recipe["weight_decay"] != 5e-4 else []),
    ]
    return ", ".join([method["name"], *extras])


def score(cached: Cache) -> dict[str, Scored]:
    """One network under every rectifier, by what a row of the table is called."""
    rows, found = evaluation_rows(cached, "test"), {}
    for suffix, method in RECTIFIERS.items():
        dataset = dataset_name(cached)
        settings = with_fit_split(
            cached, preset_settings("default", method=method, dataset=dataset)
        )
        inputs, _ = fit_inputs(cached, settings)
        fit = fit_rectifier(inputs, settings, dataset=dataset)
        name = trained_by(cached)
        key = "logit-adjustment" if name + suffix == "softmax + logit-adjustment" else name + suffix
        found[key] = rows.scored(fit, settings)
    return found


@click.command(help=as_written(__doc__))
@click.argument("caches", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(caches: tuple[Path, ...], output: Path | None) -> None:
    """Score, compare, print."""
    opened = [open_cache(path) for path in caches]
    labels = opened[0].split("test").labels
    for cached in opened:
        if not np.array_equal(cached.split("test").labels, labels):
            raise click.ClickException(f"{cached.path}: other test images than {caches[0]}")
    scored = {key: one for cached in opened for key, one in score(cached).items()}
    if "softmax" not in scored:
        raise click.ClickException("the cache of a plain training expected among them")
    standings = compare_methods(
        scored,
        opened[0].class_counts,
        population=as_sampled(labels, num_classes=opened[0].num_classes),
        bootstrap=Bootstrap(resamples=2_000, seed=0),
    )
    cells = {key: standing.cells() for key, standing in standings.items()}
    print(comparison_text(cells, table_format="markdown"))
    if output is not None:
        recipes = {trained_by(cached): cached.meta("config") for cached in opened}
        record = {
            "benchmark": "methods",
            "machine": machine(),
            "recipes": recipes,
            "methods": {key: standing.record() for key, standing in standings.items()},
        }
        # A group without classes has no accuracy: null, since JSON has no NaN.
        finite = json.loads(json.dumps(record, default=str), parse_constant=lambda _: None)
        output.write_text(json.dumps(finite, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
