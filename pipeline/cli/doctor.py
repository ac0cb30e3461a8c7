"""`pipeline doctor`: versions, devices, threads, folders and extras of this machine."""

from pathlib import Path

import click

from marr_pipeline.cli.command import EXIT_FAILED, command, print_json
from marr_pipeline.cli.help import option
from marr_pipeline.cli.options import input_folder_type, json_option
from marr_pipeline.progress import one_line
from marr_pipeline.workflows.doctor import examine


@command("doctor", example="pipeline doctor")
@option(
    "--folder",
    type=input_folder_type,
    default=Path(),
    show_default=False,
    help="Where outputs are to go.  [default: the current folder]",
)
@json_option
def cli_command(folder: Path, as_json: bool) -> None:
    """Look at this machine and say what would fail, and what to do.

    Each line is ok, a note on what costs time or a feature, or a problem. Exit code 1: something
    would fail.
    """
    lines = examine(folder)
    if as_json:
        print_json({"command": "doctor", "lines": [vars(line) for line in lines]})
    else:
        for line in lines:
            click.echo(one_line(str(line)))
    if any(line.state == "problem" for line in lines):
        raise click.exceptions.Exit(EXIT_FAILED)
