"""`pipeline apply`: rectified logits and predictions."""

from pathlib import Path

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note
from marr_pipeline.cli.options import any_head_option, check_output, input_type, output_type


@command("apply")
@click.argument("source", type=input_type)
@click.argument("rectifier", type=input_type)
@click.option("--split", type=click.Choice(names.SPLITS), default="test", help="Of a cache.")
@any_head_option
@click.option("-o", "--output", type=output_type, required=True, help="Arrays, .npz.")
def cli_command(source: Path, rectifier: Path, split: str, any_head: bool, output: Path) -> None:
    """Rectify the logits of SOURCE, a cache or an .npz, with RECTIFIER."""
    from marr_pipeline.workflows.apply import apply

    check_output(output, suffixes=(".npz",))
    arrays = apply(source, rectifier, split=split, any_head=any_head, output=output)
    note(f"wrote {output}: {', '.join(arrays)} of {len(arrays['predictions']):,} rows")
