"""`pipeline sweep`: one fit for every point of a grid of settings."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, warn
from marr_pipeline.cli.options import ChoiceList, NumberList, input_type, json_option
from marr_pipeline.progress import ProgressLine

if TYPE_CHECKING:
    from marr_pipeline.workflows.sweep import Half, Sweep

numbers = NumberList()


@command("sweep")
@click.argument("cache", type=input_type)
@click.option("--method", type=click.Choice(names.METHODS), default="marr")
@click.option("--preset", type=click.Choice(names.PRESETS), default="default")
@click.option("--gamma", type=numbers, help="Such as 0:1.6:0.2, the paper's Figure 4.")
@click.option("--l2", type=numbers, help="Such as 1e-3,1e-2,1e-1.")
@click.option("--center", type=ChoiceList(names.CENTERS))
@click.option("--scale-l2", type=numbers, help="With center tempered alone.")
@click.option("--reduction", type=ChoiceList(names.REDUCTIONS))
@click.option("--fit-views", type=ChoiceList(names.FIT_VIEWS))
@click.option("--views", type=numbers, help="How many of the views.  [default: all]")
@click.option("--eval-split", type=click.Choice(names.SPLITS), default="test")
@click.option(
    "--eval-half",
    type=click.Choice(("both", "first", "second")),
    default="both",
    help="Score every other sample of each class: one half to choose on, one to report on.",
)
@json_option
def cli_command(
    cache: Path,
    method: str,
    preset: str,
    views: tuple[float, ...] | None,
    eval_split: str,
    eval_half: "Half",
    as_json: bool,
    **tried: Any,
) -> None:
    """Fit CACHE at every combination of settings and print the metrics of each.

    Lists are written 0.5,1,2 or 0:1.6:0.2; what is not given stays at the preset's value. A sweep
    scored on the test split shows what a setting does; to choose one, see `rectify --tune`.
    """
    from dataclasses import replace

    from marr_pipeline.workflows.rectify import resolve_settings
    from marr_pipeline.workflows.sweep import sweep_cache

    base = resolve_settings(cache, preset, {"method": method})
    grid = {name: values for name, values in tried.items() if values is not None}
    sweep = sweep_cache(
        cache,
        replace(base, optimizer="lbfgs"),
        grid,
        num_views=tuple(int(number) for number in views or ()),
        eval_split=eval_split,
        half=eval_half,
        progress=ProgressLine("sweep", unit=" fits"),
    )
    warn(sweep.warnings)
    if not as_json:
        _print_table(sweep, [*grid, *(["views"] if views else [])])
        return
    print_json(
        {
            "command": "sweep",
            "method": method,
            "preset": preset,
            "eval_split": eval_split,
            "eval_half": eval_half,
            "baselines": {name: found.record() for name, found in sweep.baselines.items()},
            "points": [point.record(list(grid)) for point in sweep.points],
        }
    )


def _print_table(sweep: "Sweep", varied: list[str]) -> None:
    from marr_pipeline.report.tables import metrics_table

    labels = {}
    for point in sweep.points:
        record = point.record([name for name in varied if name != "views"])
        values = (f"{name} {_short(record[name])}" for name in varied if record[name] is not None)
        labels[", ".join(values) or "preset"] = point.metrics
    click.echo(metrics_table({**sweep.baselines, **labels}))
    unsolved = sum(point.fit.status in ("step_limit", "unbounded") for point in sweep.points)
    if unsolved:
        note(f"warning: {unsolved} of {len(sweep.points)} fits did not reach a minimum; see --json")


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
