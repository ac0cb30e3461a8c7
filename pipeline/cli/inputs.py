"""Paths that a command reads; one that does not exist is a usage error."""

from pathlib import Path

import click

input_type = click.Path(exists=True, dir_okay=False, path_type=Path)
input_folder_type = click.Path(exists=True, file_okay=False, path_type=Path)
