"""`pipeline sweep`: one fit for every point of a grid of settings."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, warn
from marr_pipeline.cli.options import (
    ChoiceList,
    NumberList,
    check_output,
    groups_option,
    input_type,
    json_option,
    output_type,
)
from marr_pipeline.progress import ProgressLine

numbers = NumberList()
RESAMPLES = 2_000


@command("sweep")
@click.argument("cache", type=input_type)
@click.option("--method", type=click.Choice(names.METHODS), default="marr")
@click.option("--preset", type=click.Choice(names.PRESETS), default="default")
@click.option("--gamma", type=numbers, help="Such as 0:1.6:0.2, the paper's Figure 4.")
@click.option("--l2", type=numbers, help="Such as 1e-3,1e-2,1e-1.")
@click.option("--center", type=ChoiceList(names.CENTERS[:-1]))
@click.option("--scale-l2", type=numbers, help="With center tempered alone.")
@click.option("--reduction", type=ChoiceList(names.REDUCTIONS))
@click.option("--fit-views", type=ChoiceList(names.FIT_VIEWS))
@click.option(
    "--views", type=NumberList(is_whole=True), help="How many of the views.  [default: all]"
)
@click.option(
    "--from", "source", type=click.Choice(names.SOURCES), help="[default: logits where stored]"
)
@click.option("--eval-split", type=click.Choice(names.SPLITS), default="test")
@groups_option
@click.option(
    "-o", "--output", type=output_type, help="Write every point with its intervals: .csv."
)
@json_option
def cli_command(
    cache: Path,
    method: str,
    preset: str,
    views: tuple[int, ...] | None,
    source: str | None,
    eval_split: str,
    groups: str | None,
    output: Path | None,
    as_json: bool,
    **tried: Any,
) -> None:
    """Fit CACHE at every combination of settings and print the metrics of each.

    Lists are written 0.5,1,2 or 0:1.6:0.2; what is not given stays at the preset's value. A sweep
    scored on the test split shows what a setting does; to choose one, see `rectify --tune`.
    """
    from dataclasses import replace

    from marr_pipeline.workflows.rectify import resolve_settings
    from marr_pipeline.workflows.sweep import sweep

    if output is not None:
        check_output(output, suffixes=(".csv",))
    base = resolve_settings(cache, preset, {"method": method})
    found = sweep(
        cache,
        replace(base, optimizer="lbfgs"),
        {name: values for name, values in tried.items() if values is not None},
        num_views=views or (),
        source=source,
        eval_split=eval_split,
        groups=groups,
        resamples=None if output is None else RESAMPLES,
        progress=ProgressLine("sweep", unit=" fits"),
    )
    warn(found.warnings)
    if output is not None:
        found.save(output)
        note(f"wrote {output}")
    if as_json:
        print_json(found.document())
    else:
        click.echo(found.table())
