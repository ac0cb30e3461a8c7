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
)


@command("apply")
@click.argument("source", type=input_type)
@click.argument("rectifier", type=input_type)
@click.option("--split", type=click.Choice(names.SPLITS), default="test", help="Of a cache.")
@scale_option
@any_head_option
@click.option("-o", "--output", type=output_type, required=True, help=".npz, .csv or .parquet.")
def cli_command(
    source: Path, rectifier: Path, split: str, scale: str | None, any_head: bool, output: Path
) -> None:
    """Rectify the rows of SOURCE, a cache or a file as `import` reads it, with RECTIFIER.

    Writes logits, probabilities and predictions, with labels and ids where there are some. A table
    has a column of logits and one of probabilities for each class.
    """
    from marr_pipeline.workflows.apply import apply

    check_output(output, suffixes=(".npz", ".csv", ".parquet"))
    applied = apply(source, rectifier, split=split, scale=scale, any_head=any_head, output=output)
    warn(applied.warnings)
    arrays = applied.arrays
    note(f"wrote {output}: {', '.join(arrays)} of {len(arrays['predictions']):,} rows")
