"""`pipeline verify`: every checksum of a cache."""

from pathlib import Path

import click

from marr_pipeline.cli.command import EXIT_INVALID, command, note, print_json
from marr_pipeline.cli.options import input_type, json_option
from marr_pipeline.progress import ProgressLine, one_line


@command("verify", example="pipeline verify digits.h5")
@click.argument("cache", type=input_type)
@json_option
def cli_command(cache: Path, as_json: bool) -> None:
    """Check every byte of CACHE against its checksums.

    Exit code 3: one is damaged.
    """
    from marr_pipeline.workflows.verify import verify

    damages = verify(cache, progress=ProgressLine("verifying", unit=" bytes"))
    if damages:
        for damage in damages:
            note(f"error: {cache}: {damage}")
        raise click.exceptions.Exit(EXIT_INVALID)
    if as_json:
        print_json({"command": "verify", "cache": cache, "damaged": []})
    else:
        click.echo(one_line(f"{cache}: every checksum holds"))
