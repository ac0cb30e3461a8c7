"""The command line: parse, call one plain function, print. `main` is the one error boundary.

Exit codes: 0 done; 1 failed; 2 usage; 3 input or cache that is invalid, stale or lacks a split;
4 fit stopped at a limit or unbounded; 5 refused, it would tune on test data; 130 interrupted.
"""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from types import FrameType

import click

from marr_pipeline import __version__
from marr_pipeline.cli.command import (
    CONTEXT_SETTINGS,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_INVALID,
    EXIT_LEAK,
    EXIT_USAGE,
)
from marr_pipeline.cli.config import config_text
from marr_pipeline.cli.help import write_table
from marr_pipeline.cli.terminal import prepare_streams
from marr_pipeline.reading import is_memory_short

SECTIONS = {
    "Begin": ("demo", "doctor"),
    "Phase one, from images to a cache": ("views", "train", "extract", "import"),
    "Phase two, from a cache to a rectifier": ("rectify", "sweep", "combine", "apply"),
    "Results": ("evaluate", "compare", "plot", "report", "reproduce"),
    "Use elsewhere": ("export",),
    "Files": ("inspect", "verify"),
}
"""The commands, in the order of a first use; each is the module of its name in this package."""
COMMANDS = tuple(name for names in SECTIONS.values() for name in names)
MODULES = {"import": "import_logits"}
"""Where a command's name is a word of Python's."""

EXIT_CODES = (
    ("marr_pipeline.errors", "ConfigError", EXIT_USAGE),
    ("marr_pipeline.errors", "DataError", EXIT_INVALID),
    ("marr_pipeline.errors", "LeakError", EXIT_LEAK),
    ("marr_pipeline.errors", "PipelineError", EXIT_FAILED),
    ("marr_pipeline.cache.errors", "CacheWriteError", EXIT_FAILED),
    ("marr_pipeline.cache.errors", "CacheError", EXIT_INVALID),
    ("marr_pipeline.plots", "PlotError", EXIT_USAGE),
)
"""Exit code by error class, first match; by name, so that no package is loaded to ask."""


class LazyGroup(click.Group):
    """Loads a command's module when it is asked for; `--help` loads them all, and no torch."""

    def list_commands(self, context: click.Context) -> list[str]:
        """In the order of a first use."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name."""
        if name not in COMMANDS:
            return None
        found = import_module(f"marr_pipeline.cli.{MODULES.get(name, name)}").cli_command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Every command with the first sentence of its help, whole."""
        groups = {
            section: [(name, self._summary(context, name)) for name in names]
            for section, names in SECTIONS.items()
        }
        write_table(formatter, groups)

    def _summary(self, context: click.Context, name: str) -> str:
        command = self.get_command(context, name)
        assert command is not None
        return command.get_short_help_str(limit=sys.maxsize)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is asked for; an unknown one is answered with the one that is meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            close = get_close_matches(name, COMMANDS, n=1)
            known = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(COMMANDS)}"
            raise click.UsageError(f"No such command '{name}'; {known}", context)
        return super().resolve_command(context, args)


def _print_config(context: click.Context, parameter: click.Parameter, name: str | None) -> None:
    """The callback of `--print-config`."""
    assert isinstance(context.command, click.Group)
    command = None if name is None else context.command.get_command(context, name)
    if command is not None and not context.resilient_parsing:
        click.echo(config_text(command, context))
        context.exit()


@click.command("pipeline", cls=LazyGroup, context_settings=CONTEXT_SETTINGS)
@click.version_option(__version__, prog_name="pipeline")
@click.option(
    "--print-config",
    type=click.Choice(COMMANDS),
    metavar="COMMAND",
    is_eager=True,
    expose_value=False,
    callback=_print_config,
    help="Write a TOML file for --config, with every option of COMMAND and its help, and exit.",
)
def cli() -> None:
    """Rectify the margins of long-tailed classifiers.

    Phase one (`train`, `extract`) writes a cache of logits; phase two (`rectify`, `evaluate`,
    `plot`) works on that file alone. `pipeline demo` goes the whole way in under a minute.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    # Read once, when torch loads its OpenMP library: threads that wait then sleep. Spinning ones
    # take the cores from those that work; on two busy cores training was 2 to 9 times faster so.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A shell starts background jobs with SIGINT ignored; a scheduler's SIGTERM must end them too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    prepare_streams()
    try:
        code = cli.main(args=arguments, prog_name="pipeline", standalone_mode=False) or 0
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        # click raises Abort from the KeyboardInterrupt, whose text says what is kept.
        kept = str(error.__cause__ or error)
        click.echo(f"interrupted: {kept}" if kept else "interrupted", err=True)
        code = EXIT_INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        code = exit_code(error)
        click.echo(f"error: {_one_line(error)}", err=True)
    sys.exit(code)


def exit_code(error: Exception) -> int:
    """The documented exit code of an error."""
    for module, name, code in EXIT_CODES:
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(error, getattr(loaded, name)):
            return code
    return EXIT_FAILED


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if is_memory_short(error):
        return (
            f"memory: room for all of it expected, got none left ({text or 'no more is said'}); "
            "free some, or raise the limit (ulimit -v, or the container's)"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    known = isinstance(error, OSError) or type(error).__module__.startswith("marr_pipeline.")
    return text if known else f"{type(error).__name__}: {text}; run again with --debug"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does, with whatever handler that has by now."""
    signal.raise_signal(signal.SIGINT)
