"""`pipeline combine`: the logits of several caches of the same rows, added with weights."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline.cli.command import EXIT_UNSOLVED, command, note, print_json, warn
from marr_pipeline.cli.help import option
from marr_pipeline.cli.options import NumberList, input_type, json_option, overwrite_option
from marr_pipeline.cli.outputs import check_outputs, output_option
from marr_pipeline.files import CACHE


@command("combine", example="pipeline combine a.h5 b.h5 --weights 1,1 -o both.h5")
@click.argument("caches", type=input_type, nargs=-1, required=True, metavar="CACHE CACHE...")
@option(
    "--weights",
    type=NumberList(),
    metavar="A,A,...",
    help="One a cache, none negative; 1,1 adds them as they are.  [default: fitted on tune]",
)
@output_option(CACHE, ".h5", ".hdf5", required=True, help="Cache, .h5.")
@overwrite_option
@json_option
def cli_command(output: Path, as_json: bool, **options: Any) -> None:
    """Add the logits of caches of the same rows.

    They are of several networks or heads, or one is zero-shot. The log of the prior that each
    stands for is taken from its logits before, so that the sum stands for the uniform prior. Rows,
    classes and their order must be the same in all; features are left out.
    """
    check_outputs()

    from marr_pipeline.workflows.combine import combine

    done = combine(**options, output=output)
    warn(done.warnings)
    if as_json:
        print_json(done.document())
    else:
        click.echo(done.text())
    note(f"wrote {output}; next: pipeline evaluate {output}")
    if done.fit is not None and done.fit.status == "step_limit":
        raise click.exceptions.Exit(EXIT_UNSOLVED)
