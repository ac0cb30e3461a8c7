"""`pipeline combine`: the logits of several caches of the same rows, added with weights."""

from pathlib import Path

import click

from marr_pipeline.cli.command import EXIT_UNSOLVED, command, note, print_json, warn
from marr_pipeline.cli.options import (
    NumberList,
    check_output,
    input_type,
    json_option,
    output_type,
)


@command("combine")
@click.argument("caches", type=input_type, nargs=-1, required=True, metavar="CACHE CACHE...")
@click.option(
    "--weights",
    type=NumberList(),
    metavar="A,A,...",
    help="One a cache, none negative; 1,1 adds them as they are.  [default: fitted on tune]",
)
@click.option("-o", "--output", type=output_type, required=True, help="Cache, .h5.")
@click.option("--overwrite", is_flag=True, help="Replace an existing cache.")
@json_option
def cli_command(
    caches: tuple[Path, ...],
    weights: tuple[float, ...] | None,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Add the logits of caches of the same rows: several networks or heads, or a zero-shot one.

    The log of the prior that each stands for is taken from its logits before, so that the sum
    stands for the uniform prior. Rows, classes and their order must be the same in all; features
    are left out.
    """
    from marr_pipeline.workflows.combine import combine

    check_output(output, suffixes=(".h5", ".hdf5"))
    done = combine(caches, output, weights=weights, overwrite=overwrite)
    warn(done.warnings)
    if as_json:
        print_json(done.document())
    else:
        click.echo(done.text())
    note(f"wrote {output}; next: pipeline evaluate {output}")
    if done.fit is not None and done.fit.status == "step_limit":
        raise click.exceptions.Exit(EXIT_UNSOLVED)
