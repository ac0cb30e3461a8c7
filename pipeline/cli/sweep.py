"""`pipeline sweep`: one fit for every point of a grid of settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, warn
from marr_pipeline.cli.help import options_of
from marr_pipeline.cli.options import (
    ChoiceList,
    NumberList,
    eval_split_option,
    groups_option,
    input_type,
    json_option,
    overwrite_option,
    source_option,
)
from marr_pipeline.cli.outputs import check_outputs, output_option
from marr_pipeline.files import SWEEP
from marr_pipeline.progress import ProgressLine

numbers = NumberList()
RESAMPLES = 2_000


of_method, of_grid, of_rows = options_of("Method"), options_of("Grid"), options_of("Rows")


@command("sweep", example="pipeline sweep digits.h5 --gamma 0:1.6:0.2 -o gamma.csv")
@click.argument("cache", type=input_type)
@of_method("--method", type=click.Choice(names.METHODS), default="marr")
@of_method("--preset", type=click.Choice(names.PRESETS), default="default")
@of_grid("--gamma", type=numbers, help="Such as 0:1.6:0.2, the paper's Figure 4.")
@of_grid("--l2", type=numbers, help="Such as 1e-3,1e-2,1e-1.")
@of_grid("--center", type=ChoiceList(names.CENTERS[:-1]))
@of_grid("--scale-l2", type=numbers, help="With center tempered alone.")
@of_grid("--reduction", type=ChoiceList(names.REDUCTIONS))
@of_rows("--fit-views", type=ChoiceList(names.FIT_VIEWS))
@of_rows("--views", type=NumberList(is_whole=True), help="How many of the views.  [default: all]")
@source_option
@eval_split_option
@groups_option
@output_option(SWEEP, ".csv", help="Write every point with its intervals: .csv.")
@overwrite_option
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
    overwrite: bool,
    as_json: bool,
    **tried: Any,
) -> None:
    """Fit CACHE at every combination of settings; print the metrics.

    Lists are written 0.5,1,2 or 0:1.6:0.2; what is not given stays at the preset's value. A sweep
    scored on the test split shows what a setting does; to choose one, see `rectify --tune`.
    """
    check_outputs()

    from marr_pipeline.workflows.rectify import resolve_settings
    from marr_pipeline.workflows.sweep import sweep

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
        found.save(output, overwrite=overwrite)
        note(f"wrote {output}")
    if as_json:
        print_json(found.document())
    else:
        click.echo(found.table())
