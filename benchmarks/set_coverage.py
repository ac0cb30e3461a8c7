"""How often sets of labels hold the true one, and how large they are, by score and threshold.

    python benchmarks/set_coverage.py cifar100-r100.h5 [--coverage 0.9] [-o FILE.json]

The test rows of a cache are dealt into halves again and again: one stands for the split `tune`, on
the other the sets are scored. `balanced` takes them as they are; `long tail` first draws rows of
each class in proportion to the training list, as `tune` and new rows have them where nothing was
balanced. The classifier is the cache's own, or of features alone a plain probe. Since rows are
dealt at random the mean coverage over deals is what was asked for, to within `noise`: the binomial
deviation of one deal over the square root of their number. The table is Markdown.
"""

import json
import math
import statistics
from pathlib import Path
from typing import Any

import click
import torch
from harness import as_written, machine
from torch import Tensor

from marr_pipeline.progress import ProgressLine
from marr_pipeline.rectify.sets import SetScore, SetSettings, fit_sets
from marr_pipeline.report.sets import measure_sets
from marr_pipeline.workflows import finite
from marr_pipeline.workflows.cached import opened
from marr_pipeline.workflows.probe import with_probe
from marr_pipeline.workflows.scored_rows import closed_form, evaluation_rows

SETS: tuple[tuple[SetScore, float], ...] = (
    ("softmax", 0.0),
    ("prevalence", 0.0),
    ("softmax", 0.5),
    ("softmax", 0.9),
    ("prevalence", 0.5),
    ("prevalence", 0.9),
    ("softmax", 1.0),
)
SHOWN = ("coverage", "macro", "many", "medium", "few", "mean_size", "median_size", "empty")


def long_tail(labels: Tensor, class_counts: Tensor, generator: torch.Generator) -> Tensor:
    """Rows (M,) of which each class has its share of the training list; one of each at least."""
    most = torch.bincount(labels, minlength=len(class_counts))
    wanted = (most.max() * class_counts / class_counts.max()).round().long().clamp(min=1)
    order = torch.randperm(len(labels), generator=generator)
    kept = [order[labels[order] == label][:count] for label, count in enumerate(wanted.tolist())]
    return torch.cat(kept)


@click.command(help=as_written(__doc__))
@click.argument("cache", type=click.Path(exists=True, path_type=Path))
@click.option("--coverage", default=0.9, show_default=True)
@click.option("--deals", default=100, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(cache: Path, coverage: float, deals: int, output: Path | None) -> None:
    """Deal, calibrate, score, print."""
    cached, _ = with_probe(opened(cache), eval_split="test")
    rows = evaluation_rows(cached, "test")
    classifier = closed_form(cached, "softmax")
    logits, labels = rows.rectified(classifier), rows.labels
    counts = torch.from_numpy(cached.class_counts)
    told = ProgressLine("deals", unit=" deals")
    found: dict[str, dict[str, list[dict[str, Any]]]] = {"balanced": {}, "long tail": {}}
    noise: dict[str, float] = {}
    for deal in range(deals):
        generator = torch.Generator().manual_seed(deal)
        for population, measured in found.items():
            pool = torch.arange(len(labels))
            if population == "long tail":
                pool = long_tail(labels, counts, generator)
            pool = pool[torch.randperm(len(pool), generator=generator)]
            tune, test = pool.chunk(2)
            variance = coverage * (1 - coverage) * (2 / len(tune) + 1 / len(test))
            noise[population] = math.sqrt(variance / deals)
            for score, weight in SETS:
                settings = SetSettings(
                    coverage=coverage, score=score, interpolate=weight, seed=deal
                )
                sets = fit_sets(
                    logits[tune], labels[tune], settings, log_prior=classifier.log_prior
                )
                members = sets.members(logits[test])
                held = members.gather(1, labels[test, None])[:, 0]
                metrics = measure_sets(
                    held.numpy(), members.sum(1).numpy(), labels[test].numpy(), counts.numpy()
                )
                measured.setdefault(f"{score}, W {weight:g}", []).append(metrics.record())
        told(deal + 1, deals, "")
    means = {
        population: {
            key: {name: statistics.fmean(each[name] for each in every) for name in SHOWN}
            | {"deviation": statistics.pstdev(each["coverage"] for each in every)}
            for key, every in measured.items()
        }
        for population, measured in found.items()
    }
    print(f"| | {' | '.join(SHOWN)} |\n|---|{'---:|' * len(SHOWN)}")
    for population, measured in means.items():
        print(f"| *{population}, noise {100 * noise[population]:.2f}* |{' |' * len(SHOWN)}")
        for key, values in measured.items():
            cells = [
                f"{values[name]:.2f}" if "size" in name else f"{100 * values[name]:.1f}"
                for name in SHOWN
            ]
            print(f"| {key} | {' | '.join(cells)} |")
    if output is not None:
        document = {
            "benchmark": "set_coverage",
            "command": f"python benchmarks/set_coverage.py {cache.name} --coverage {coverage:g} "
            f"--deals {deals}",
            "fingerprint": cached.fingerprint,
            "machine": machine(),
            "noise": noise,
            "sets": means,
        }
        output.write_text(json.dumps(finite(document), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
