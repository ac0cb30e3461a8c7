"""`pipeline apply`: rectified logits and predictions."""

from pathlib import Path

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, warn
from marr_pipeline.cli.options import (
    any_head_option,
    check_output,
    input_type,
    output_type,
    scale_option,
    target_prior_option,
)
from marr_pipeline.cli.set_options import chosen_sets, set_options


@command("apply")
@click.argument("source", type=input_type)
@click.argument("rectifier", type=input_type)
@click.option("--split", type=click.Choice(names.SPLITS), default="test", help="Of a cache.")
@scale_option
@click.option(
    "--join",
    type=input_type,
    multiple=True,
    metavar="FILE",
    help="Features of the same rows by another backbone, joined to SOURCE's; again for a third.",
)
@any_head_option
@set_options
@click.option(
    "--calibration",
    type=input_type,
    metavar="CACHE",
    help="Of sets: whose split tune calibrates them, for a file of rows.  [default: SOURCE]",
)
@target_prior_option
@click.option("-o", "--output", type=output_type, required=True, help=".npz, .csv or .parquet.")
def cli_command(
    source: Path,
    rectifier: Path,
    split: str,
    scale: str | None,
    join: tuple[Path, ...],
    any_head: bool,
    sets: float | None,
    score: str | None,
    interpolate: float | None,
    calibration: Path | None,
    target_prior: str | None,
    output: Path,
) -> None:
    """Rectify the rows of SOURCE, a cache or a file as `import` reads it, with RECTIFIER.

    Writes logits, probabilities and predictions, with labels and ids where there are some. A table
    has a column of logits and one of probabilities for each class. With --sets each row has a set
    of classes too: a matrix `sets`, or columns `set` (names joined by ;) and `set_size`.
    """
    from marr_pipeline.workflows.apply import apply

    check_output(output, suffixes=(".npz", ".csv", ".parquet"))
    applied = apply(
        source,
        rectifier,
        split=split,
        scale=scale,
        join=join,
        any_head=any_head,
        sets=chosen_sets(sets, score, interpolate),
        calibration=calibration,
        target_prior=target_prior,
        output=output,
    )
    warn(applied.warnings)
    for line in applied.notes:
        note(line)
    note(f"wrote {output}: {applied.num_rows:,} rows")
    note(f"probabilities: for {applied.prior}")
