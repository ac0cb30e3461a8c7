"""What explains the paper's numbers: one thing of its phase two changed at a time.

    python benchmarks/ablations.py gamma cifar10-lt.h5 cifar100-lt.h5 ... [-o FILE.json]

Each cache is of plain training, in augmented views. The ablations:

    reduction    plain and weighted mean, to the optimum and by both schedules of SGD
    center       where the ridge pulls to, at the paper's strength and at the default's; no ridge
    batch-norm   fits of rows by the statistics of training or of each batch of the released code;
                 caches in pairs, `extract --bn eval` and the same with `--bn train`
    views        the clean images alone, and 1, 2 and all of the augmented views
    gamma        0 to 1.6 by 0.2
    norm         the head's norms w against w = 1
    tau          MARR of a gamma against logit adjustment with tau = gamma, the prior that class
                 weights of that exponent ask for
    selection    the last iterate of the released schedule against its best epoch on test. That is
                 chosen on what it is scored on: it shows how large the leak is, and nothing else

The paper's SGD beside exact solvers on its own objective is in results/optimizers-cifar10-lt.json.

All is scored on test, and but for `selection` nothing is chosen on it: every row has the settings
that its name says. Rows are set against softmax, logit adjustment and their ablation's own base,
image by image: intervals of 95 % from stratified resamples, McNemar's test, its p with Holm's
correction over all rows too. The table is Markdown, a column a cache: accuracy, NLL in brackets,
and the difference to the base in points, with `*` if p < 0.05 after Holm. What the record has of
the same caches already is not made again.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from ablation_rows import ABLATIONS, Row
from harness import as_written, machine
from torch import Tensor

from marr_pipeline.cache import Cache
from marr_pipeline.names import REFERENCES
from marr_pipeline.optim.sgd import run_sgd
from marr_pipeline.optim.solvable import Point
from marr_pipeline.progress import ProgressLine
from marr_pipeline.rectify.affine import AffineProblem, build_problem
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.schedule import draw_batches, sgd_schedule
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.comparison import Scored, Standing, compare_methods
from marr_pipeline.report.population import as_sampled
from marr_pipeline.workflows import finite
from marr_pipeline.workflows.cached import dataset_name, fit_inputs, opened, with_fit_split
from marr_pipeline.workflows.scored_rows import EvaluationRows, evaluation_rows

SETTINGS = (
    *("method", "preset", "optimizer", "gamma", "l2", "center", "scale_l2", "memorised"),
    *("reduction", "fit_views", "seed"),
)
"""Of a fit, as the record has them."""
METRICS = ("overall", "balanced", "many", "medium", "few", "nll", "ece")


class Watched:
    """A problem as SGD takes it, which keeps its iterate at the end of each epoch."""

    def __init__(self, problem: AffineProblem, steps_per_epoch: int) -> None:
        self.iterates: list[Tensor] = []
        self._problem, self._part = problem, problem
        self._steps, self._steps_per_epoch = 0, steps_per_epoch

    def subset(self, rows: Tensor) -> "Watched":
        """The rows of the next step."""
        self._part = self._problem.subset(rows)
        return self

    def evaluate(self, theta: Tensor, *, precise: bool) -> Point:
        """Before that step."""
        if self._steps and self._steps % self._steps_per_epoch == 0:
            self.iterates.append(theta.clone())
        self._steps += 1
        return self._part.evaluate(theta, precise=precise)


def every_epoch(
    inputs: FitInputs, settings: RectifySettings, dataset: str | None
) -> list[FitResult]:
    """What SGD has after each epoch of its schedule, the last iterate included."""
    family = METHODS["marr"].family
    assert family is not None
    problem = build_problem(inputs, settings, family(inputs.weight_norm))
    schedule = sgd_schedule(settings, dataset, len(inputs.labels))
    batches = draw_batches(
        schedule,
        labels=inputs.labels,
        num_views=inputs.num_views,
        sampling=settings.sampling,
        seed=settings.seed,
    )
    watched = Watched(problem, schedule.steps_per_epoch)
    last = run_sgd(
        problem,
        problem.family.identity(),
        (views * len(inputs.labels) + samples for views, samples in batches),
        schedule=schedule,
        batch_problem=watched,  # type: ignore[arg-type]
        tolerance=settings.tolerance,
    )
    points = [problem.family.affine(theta) for theta in (*watched.iterates, last.theta)]
    rectifiers = [Rectifier(scale=scale.clone(), shift=shift) for scale, shift in points]
    return [FitResult.of(last, rectifier) for rectifier in rectifiers]


def scored(cached: Cache, row: Row, rows: EvaluationRows) -> tuple[Scored, dict[str, Any]]:
    """A row's scores, and how its fit went."""
    dataset, changes = dataset_name(cached), dict(row.changes)
    method = changes.pop("method", "marr")
    settings = replace(preset_settings(row.preset, dataset=dataset, **changes), method=method)
    settings = with_fit_split(cached, settings)
    inputs, _ = fit_inputs(cached, settings)
    if row.views is not None:
        inputs = inputs.first_views(row.views)
    told: dict[str, Any] = {"views": inputs.num_views}
    if row.is_leak:
        epochs = [rows.scored(each, settings) for each in every_epoch(inputs, settings, dataset)]
        right = [float((each.scores.predicted == rows.labels.numpy()).mean()) for each in epochs]
        best = max(range(len(right)), key=right.__getitem__)
        found, used = replace(epochs[best], status="chosen on test"), asdict(settings)
        told |= {"epoch": best + 1, "epochs": len(epochs), "last": right[-1]}
    else:
        fit = fit_rectifier(inputs, settings, dataset=dataset)
        found, used = rows.scored(fit, settings), dict(fit.rectifier.metadata)
        told |= {"loss": fit.loss, "gap_bound": fit.gap_bound, "passes": fit.passes}
    return found, told | {"settings": {name: used[name] for name in SETTINGS}}


def block(
    ablation: Mapping[str, Row], cached: Cache, other: Cache | None, bootstrap: Bootstrap
) -> dict[str, Any]:
    """All rows of an ablation on one cache, or one pair, for the record."""
    rows, told = evaluation_rows(cached, "test"), ProgressLine("ablation", unit=" fits")
    every = {name: Row(preset="default", changes={"method": name}) for name in REFERENCES} | dict(
        ablation
    )
    found: dict[str, Scored] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, row in every.items():
        source = other if row.is_other and other is not None else cached
        found[name], facts[name] = scored(source, row, rows)
        told(len(found), len(every), name)
    bases = dict.fromkeys(row.base for row in ablation.values() if row.base is not None)
    standings = compare_methods(
        found,
        cached.class_counts,
        population=as_sampled(rows.labels.numpy(), cached.num_classes),
        bootstrap=bootstrap,
        references=(*REFERENCES, *bases),
    )
    return {
        "fingerprint": cached.fingerprint,
        "other_fingerprint": None if other is None else other.fingerprint,
        "resamples": bootstrap.resamples,
        "config": cached.meta("config") if "config" in cached.documents else None,
        "rows": {name: record(standings[name], every[name], facts[name]) for name in every},
    }


def record(standing: Standing, row: Row, facts: dict[str, Any]) -> dict[str, Any]:
    """One row."""
    found = standing.record()
    against_base = None if row.base is None else standing.difference(row.base)
    return {
        **{name: found[name] for name in METRICS},
        "interval": found["interval"],
        "intervals": {name: found["intervals"][name] for name in METRICS},
        "base": row.base,
        "vs_base": short(against_base),
        "vs_logit_adjustment": short(found["vs_logit_adjustment"]),
        "status": found["status"],
        **facts,
    }


def short(difference: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """That of overall accuracy with its test, and those of `METRICS`."""
    if difference is None:
        return None
    alone = {name: difference[name] for name in ("difference", "interval", "p", "p_holm")}
    return alone | {"differences": {name: difference["differences"][name] for name in METRICS}}


def title(cached: Cache) -> str:
    """`cifar10-lt 100`: the dataset, and the ratio of a long tail that was cut."""
    if "config" not in cached.documents:
        return cached.path.stem
    config: Any = cached.meta("config")
    ratio = config["dataset"]["imbalance_ratio"]
    return config["dataset"]["name"] + ("" if ratio is None else f" {ratio:g}")


def paired(caches: list[Cache]) -> list[tuple[Cache, Cache]]:
    """Two caches of each network, by the statistics of training and of batches."""
    pairs = list(zip(caches[::2], caches[1::2], strict=False))
    for pair in pairs:
        records: list[Any] = [cached.meta("transforms") for cached in pair]
        modes = [record["train"]["batch_norm"] for record in records]
        same_head = len({cached.head_fingerprint for cached in pair}) == 1
        if modes != ["eval", "train"] or not same_head:
            raise click.ClickException(
                f"{pair[0].path}, {pair[1].path}: two caches of one network expected, by --bn eval "
                f"and --bn train, got {' and '.join(modes)}"
                + ("" if same_head else " of two networks")
            )
    if len(caches) % 2:
        raise click.ClickException(f"batch-norm: caches in pairs expected, got {len(caches)}")
    return pairs


def table(blocks: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, a column a cache."""
    lines = [f"| | {' | '.join(blocks)} |", f"|---|{'---|' * len(blocks)}"]
    for name in next(iter(blocks.values()))["rows"]:
        cells = [cell(each["rows"][name]) for each in blocks.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(row: Mapping[str, Any]) -> str:
    """Accuracy, NLL, the difference to the base, and a status that one should know."""
    parts = [f"{100 * row['overall']:.1f} ({row['nll']:.3f})"]
    if row["vs_base"] is not None:
        low, high = (100 * end for end in row["vs_base"]["interval"])
        star = "*" if row["vs_base"]["p_holm"] < 0.05 else ""
        parts.append(f"{100 * row['vs_base']['difference']:+.1f} [{low:.1f}, {high:.1f}]{star}")
    if row["status"] in ("unbounded", "step_limit", "chosen on test"):
        parts.append(row["status"])
    return " ".join(parts)


@click.command(help=as_written(__doc__))
@click.argument("name", type=click.Choice(list(ABLATIONS)))
@click.argument(
    "caches", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--row", "only", multiple=True, help="This row and its base alone; may be repeated.")
@click.option("--resamples", default=2_000, show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path))
def main(
    name: str,
    caches: tuple[Path, ...],
    only: tuple[str, ...],
    resamples: int,
    output: Path | None,
) -> None:
    """Fit, score, compare, print."""
    ablation = ABLATIONS[name]
    for unknown in {*only} - {*ablation}:
        raise click.BadParameter(f"one of {'; '.join(ablation)} expected, got {unknown}")
    if only:
        kept = {*only, *(ablation[each].base for each in only)}
        ablation = {each: row for each, row in ablation.items() if each in kept}
    every = [opened(path) for path in caches]
    pairs: list[tuple[Cache, Cache | None]] = [(cached, None) for cached in every]
    if name == "batch-norm":
        pairs = [*paired(every)]
    titles = [title(cached) for cached, _ in pairs]
    if len(set(titles)) < len(titles):
        raise click.ClickException(f"caches of different data expected, got {', '.join(titles)}")
    before: dict[str, dict[str, Any]] = {}
    if output is not None and output.exists():
        before = json.loads(output.read_text(encoding="utf-8"))["caches"]
    sources = dict(zip(titles, pairs, strict=True))
    blocks = {
        called: before[called]
        for called, (cached, other) in sources.items()
        if is_of(before.get(called), cached, other, ablation, resamples)
    }
    for called, (cached, other) in sources.items():
        if called not in blocks:
            blocks[called] = block(ablation, cached, other, Bootstrap(resamples=resamples, seed=0))
        if output is not None:
            made = {each: source for each, source in sources.items() if each in blocks}
            write(output, name, made, only, {each: blocks[each] for each in made})
    print(table({called: blocks[called] for called in sources}))


def is_of(
    kept: Mapping[str, Any] | None,
    cached: Cache,
    other: Cache | None,
    ablation: Mapping[str, Row],
    resamples: int,
) -> bool:
    """Whether a block of a record is what would be made again."""
    return (
        kept is not None
        and kept["fingerprint"] == cached.fingerprint
        and kept["other_fingerprint"] == (None if other is None else other.fingerprint)
        and kept["resamples"] == resamples
        and [*kept["rows"]] == [*REFERENCES, *ablation]
    )


def write(
    output: Path,
    name: str,
    sources: Mapping[str, tuple[Cache, Cache | None]],
    only: tuple[str, ...],
    blocks: Mapping[str, Mapping[str, Any]],
) -> None:
    """The record of the caches that are made, with the command that makes it anew."""
    caches = [cached for source in sources.values() for cached in source if cached is not None]
    document = {
        "benchmark": "ablations",
        "command": shlex.join(
            ["python", "benchmarks/ablations.py", name, *(cached.path.name for cached in caches)]
            + [word for row in only for word in ("--row", row)]
        ),
        "scored": "test; tuned on it: " + ("the best epoch" if name == "selection" else "no"),
        "machine": machine(),
        "caches": blocks,
    }
    # A group without classes has no accuracy: null, since JSON has no NaN.
    text = json.dumps(finite(document), indent=1, default=str)
    output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
