"""`pipeline bench precision`: what storing float16 costs, beside float32."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import names
from pipeline.bench.settings import BenchSettings
from pipeline.cli.bench.options import objective_options, shape_options, views_option
from pipeline.cli.command import command, json_option, note, print_json, warn
from pipeline.cli.inputs import input_type
from pipeline.progress import silent

if TYPE_CHECKING:
    from torch import Tensor

    from cache import ViewKind
    from pipeline.bench.precision import PrecisionBench
    from pipeline.cli.bench.rows import BenchRows, RowRequest


def bench_precision(
    request: "RowRequest", settings: BenchSettings, *, device: str
) -> tuple["BenchRows", "PrecisionBench"]:
    """Fit rows as float32 and as float16, and compare both on the test split where there is one.

    Args:
        request: rows stored as float32.
        settings: the objective, and how near to come.
        device: where the fits run.

    Raises:
        ConfigError: a cache as well as a shape for synthetic rows.
        DataError: the rows are not stored as float32.
    """
    from pipeline.bench.precision import run_precision_bench
    from pipeline.cli.bench.rows import requested_rows
    from pipeline.device import resolve_device

    rows = requested_rows(request, device=resolve_device(device), progress=silent)
    warn(rows.warnings)
    evaluation = None if request.source is None else _test_rows(request.source)
    return rows, run_precision_bench(rows.inputs, settings, evaluation=evaluation)


@command("precision")
@click.argument("cache", required=False, type=input_type)
@shape_options
@views_option
@objective_options(gap=1e-12)
@click.option("--device", type=click.Choice(names.DEVICES), default="cpu")
@json_option
def precision_command(
    cache: Path | None,
    samples: int | None,
    classes: int | None,
    imbalance_ratio: float | None,
    views: "ViewKind",
    device: str,
    as_json: bool,
    **objective: Any,
) -> None:
    """Fit the float32 logits of CACHE, or synthetic ones, as they are and rounded to float16.

    Compared are omega, beta, and rectified probabilities and accuracy on the test split, or on
    the fitted rows where there is none.
    """
    from pipeline.cli.bench.precision_table import precision_table
    from pipeline.cli.bench.rows import RowRequest
    from pipeline.cli.bench.table import machine_line

    settings = BenchSettings(**objective)
    request = RowRequest(
        source=cache,
        samples=samples,
        classes=classes,
        imbalance_ratio=imbalance_ratio,
        views=views,
        seed=settings.seed,
    )
    rows, bench = bench_precision(request, settings, device=device)
    if as_json:
        problem = {**rows.document(), **settings.document()}
        print_json(
            {"command": "bench", "what": "precision", "problem": problem, **bench.document()}
        )
        return
    note(machine_line(bench.machine))
    click.echo(precision_table(bench))


def _test_rows(path: Path) -> "tuple[Tensor, Tensor] | None":
    """Logits and labels of the clean test view; None for a cache without a test split."""
    from cache import open_cache
    from pipeline.cli.cached import evaluation_rows

    cached = open_cache(path)
    if "test" not in cached.split_names:
        return None
    rows = evaluation_rows(cached, "test")
    return rows.logits, rows.labels
