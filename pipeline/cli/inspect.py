"""`pipeline inspect`: what is inside a cache or a rectifier file."""

from pathlib import Path

import click

from marr_pipeline.cli.command import command, print_json
from marr_pipeline.cli.options import input_type, json_option
from marr_pipeline.progress import one_line


@command("inspect", example="pipeline inspect digits.h5")
@click.argument("file", type=input_type, metavar="CACHE|RECTIFIER")
@json_option
def cli_command(file: Path, as_json: bool) -> None:
    """Show what is inside a file.

    Of a cache the splits, counts, groups, head and provenance; of a rectifier (.safetensors) the
    method, its numbers and how it was fitted.
    """
    from marr_pipeline.workflows.inspect import describe, inspect

    document = inspect(file)
    if as_json:
        print_json(document)
        return
    for line in describe(document):
        click.echo(one_line(line))
