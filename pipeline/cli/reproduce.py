"""`pipeline reproduce`: a table or figure of the paper, made again."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json
from marr_pipeline.cli.help import options_of
from marr_pipeline.cli.options import FiniteRange, input_folder_type, json_option, of_output
from marr_pipeline.progress import ProgressLine
from marr_pipeline.workflows.request import Listener

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

of_data, of_runs = options_of("Data"), options_of("Runs")


def time_span(value: str) -> float:
    """Seconds of `90s`, `8m`, `1.5h` or `2d`.

    Raises:
        click.BadParameter: no such text.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value.strip())
    if found is None:
        raise click.BadParameter(f"a time such as 90s, 8m, 1.5h or 2d expected, got {value!r}")
    return float(found[1]) * SECONDS[found[2]]


@command("reproduce", example="pipeline reproduce table1 -o paper")
@click.argument("experiment", type=click.Choice(names.EXPERIMENTS), metavar="TABLE|FIGURE")
@of_data(
    "--data-root",
    type=input_folder_type,
    help="Folder of the datasets, each a folder or .zip such as cifar10, or one dataset's own.",
)
@of_runs("--seeds", type=click.IntRange(1, 100), default=1, help="Runs of each network.")
@of_runs(
    "--scale",
    type=FiniteRange(min=0, max=1, min_open=True),
    default=1.0,
    help="Share of the schedule's steps; below 1 a rehearsal, and named so everywhere.",
)
@of_runs(
    "--budget",
    type=time_span,
    metavar="TIME",
    help="Stop running after so long, such as 8m or 2h; runs that fill most of the table for their "
    "time come first. The same command goes on.  [default: none]",
)
@of_runs("--recipe", type=click.Choice(names.RECIPES), default="default", help="Of the networks.")
@of_runs("--batch-size", type=click.IntRange(min=1), help="Images a step.  [default: the recipe's]")
@of_runs("--views", type=click.IntRange(min=0), default=4, help="Augmented training views.")
@of_runs("--device", type=click.Choice(names.DEVICES), default="auto", help="Where networks run.")
@of_output("--dry-run", is_flag=True, help="Print what would run and how long, make nothing.")
@of_output(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the networks, caches, tables and figures. Experiments share them.",
)
@json_option
def cli_command(
    experiment: str,
    data_root: Path | None,
    seeds: int,
    scale: float,
    budget: float | None,
    dry_run: bool,
    output: Path,
    as_json: bool,
    **schedule: Any,
) -> None:
    """Make a table or figure of the paper again.

    Every number stands beside the one it prints. What it needs is trained, extracted, fitted and
    scored, as far as it is not in the folder; stopped, the same command goes on. What cannot run
    here is left empty, and the reason said.
    """
    from marr_pipeline.workflows.paper.runs import Schedule
    from marr_pipeline.workflows.reproduce import reproduce

    found = reproduce(
        experiment,
        output,
        data_root=data_root,
        schedule=replace(Schedule(scale=scale), **schedule),
        seeds=seeds,
        budget=budget,
        is_dry=dry_run,
        listener=Listener(say=note, progress=ProgressLine),
    )
    if as_json:
        print_json(found.document())
    elif not dry_run:
        click.echo(found.text())
    for path in found.files:
        note(f"wrote {path}")
