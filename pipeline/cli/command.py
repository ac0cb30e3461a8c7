"""What every command shares: its own options and help, exit codes, how it speaks, and in how many
processes it runs.
"""

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from marr_pipeline import __version__, progress
from marr_pipeline.cli.config import read_config
from marr_pipeline.cli.help import GENERAL, Option, show_all, write_example, write_options
from marr_pipeline.cli.options import input_type
from marr_pipeline.workflows import finite

if TYPE_CHECKING:
    import torch

    from marr_pipeline.distributed import Ranks
    from marr_pipeline.findings import Finding

EXIT_FAILED, EXIT_USAGE, EXIT_INVALID, EXIT_UNSOLVED, EXIT_LEAK = 1, 2, 3, 4, 5
EXIT_INTERRUPTED = 130
SCHEMA_VERSION = 1
CONTEXT_SETTINGS = {
    "show_default": True,
    "max_content_width": 100,
    "help_option_names": ["-h", "--help"],
}
"""Of every command and group."""
PATIENCE = timedelta(hours=6)
"""One process may be that much later than the others, with its images or its rows."""


class Command(click.Command):
    """A command with an example, options in groups, and those that all have.

    Args:
        example: command lines that work, one a line.
    """

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.params += _general_options()

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What it does, and an example."""
        super().format_help_text(ctx, formatter)
        for one in self.params:
            if isinstance(one, click.Argument) and isinstance(one.type, click.Choice):
                formatter.write_paragraph()
                with formatter.indentation():
                    formatter.write_text(f"{one.metavar}: {', '.join(one.type.choices)}.")
        write_example(formatter, self.example)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options in their groups."""
        write_options(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, as loud as was asked for."""
        is_quiet, is_verbose = ctx.params.pop("quiet"), ctx.params.pop("verbose")
        if is_quiet and is_verbose:
            raise click.UsageError("-q: no -v beside it expected; leave one of them out")
        level = progress.Volume(1 + is_verbose - is_quiet) if is_quiet or is_verbose else None
        with progress.volume(level):
            progress.detail(f"pipeline {__version__}, Python {platform.python_version()}")
            for line in _resolved(ctx):
                progress.detail(line)
            begin = time.perf_counter()
            try:
                return super().invoke(ctx)
            finally:
                progress.detail(f"{ctx.info_name}: {time.perf_counter() - begin:.2f} s in all")


def _general_options() -> list[click.Parameter]:
    own = partial(Option, group=GENERAL, expose_value=False)
    eager = partial(own, is_flag=True, is_eager=True)
    return [
        own(
            ["--config"],
            type=input_type,
            is_eager=True,
            callback=read_config,
            help="TOML file of defaults, see --print-config.",
        ),
        Option(
            ["-q", "--quiet"],
            group=GENERAL,
            is_flag=True,
            help="Warnings, errors and results alone.",
        ),
        Option(
            ["-v", "--verbose"],
            group=GENERAL,
            is_flag=True,
            help="Also what every option is, and timings.",
        ),
        eager(["--debug"], expert=True, help="Show the traceback of an error."),
        eager(
            ["--help-all"],
            callback=show_all,
            help="Show all options, and all about them.",
        ),
    ]


def command(name: str, *, example: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: a click command of this program, with command lines that show its use."""
    return click.command(name, cls=Command, context_settings=CONTEXT_SETTINGS, example=example)


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document on stdout; a number that is not finite becomes null."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **finite(document)}, allow_nan=False))


def note(message: str) -> None:
    """A line for the person at the terminal: stderr, since stdout is for data."""
    progress.say(message)


def warn(warnings: Sequence[str]) -> None:
    """Results that stand but need a look."""
    for warning in warnings:
        note(f"warning: {warning}")


def tell(findings: Sequence["Finding"]) -> None:
    """What numbered checks found, one line each."""
    for finding in findings:
        click.echo(progress.one_line(str(finding)), err=True)


@contextmanager
def together(device: "torch.device", *, sums: bool) -> Iterator["Ranks"]:
    """Join the other processes until the block ends.

    Args:
        device: where the work runs.
        sums: whether tensors on it will travel.

    Raises:
        click.exceptions.Exit: another process has ended and has said why, or every process was
            interrupted and the first one says so.
    """
    from marr_pipeline.distributed import LostRankError, joined_ranks

    with joined_ranks(device, sums=sums, patience=PATIENCE) as ranks:
        try:
            yield ranks
        except LostRankError as error:
            raise click.exceptions.Exit(EXIT_FAILED) from error
        except KeyboardInterrupt as error:
            if ranks.is_first:
                raise
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from error


def _resolved(context: click.Context) -> Iterator[str]:
    """Every parameter that has a value, and where it was said."""
    for name, value in sorted(context.params.items()):
        source = context.get_parameter_source(name)
        if value is not None and source is not None:
            yield f"  {name} = {value}  ({source.name.lower().replace('_', ' ')})"
