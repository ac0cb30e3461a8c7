"""`pipeline bench`: speed, always as ratios within one run."""

import click

from pipeline.cli.bench.cache import cache_command
from pipeline.cli.bench.extract import extract_command
from pipeline.cli.bench.fit import fit_command
from pipeline.cli.bench.precision import precision_command
from pipeline.cli.bench.scaling import scaling_command
from pipeline.cli.bench.train import train_command
from pipeline.cli.command import CONTEXT_SETTINGS


@click.group("bench", context_settings=CONTEXT_SETTINGS)
def cli_command() -> None:
    """Measure speed, beside what others take for the same in the same run."""


for command in (
    fit_command,
    scaling_command,
    precision_command,
    extract_command,
    cache_command,
    train_command,
):
    cli_command.add_command(command)
