"""The `-o` of every command."""

from pathlib import Path

import click

from marr_pipeline.files import check_writable

output_type = click.Path(path_type=Path)
"""Existence and permission are `check_output`'s matter: exit code 1, not a usage error."""


def check_output(path: Path, *, suffixes: tuple[str, ...] = ()) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        click.UsageError: another suffix than the format's.
        PipelineError: the folder is missing or not writable, or the name is a folder's.
    """
    if suffixes and path.suffix not in suffixes:
        raise click.UsageError(
            f"-o {path}: a name ending in {' or '.join(suffixes)} expected, got '{path.suffix}'"
        )
    check_writable(path)
