"""What every command shares: `--config`, `--debug`, exit codes, how it speaks, and in how many
processes it runs.
"""

import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marr_pipeline.cli.options import input_type

if TYPE_CHECKING:
    import torch

    from marr_pipeline.distributed import Ranks
    from marr_pipeline.findings import Finding

EXIT_FAILED, EXIT_USAGE, EXIT_INVALID, EXIT_UNSOLVED, EXIT_LEAK = 1, 2, 3, 4, 5
EXIT_INTERRUPTED = 130
SCHEMA_VERSION = 1
CONTEXT_SETTINGS = {"show_default": True, "help_option_names": ["-h", "--help"]}
"""Of every command and group."""
PATIENCE = timedelta(hours=6)
"""One process may be that much later than the others, with its images or its rows."""


class Command(click.Command):
    """A command with `--config FILE.toml` for the defaults of its options, and `--debug`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(
                ["--config"],
                type=input_type,
                is_eager=True,
                expose_value=False,
                callback=_read_config,
                help="TOML file with defaults for these options.",
            ),
            click.Option(
                ["--debug"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                help="Show the traceback of an error.",
            ),
        ]


def command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: a click command of this program."""
    return click.command(name, cls=Command, context_settings=CONTEXT_SETTINGS)


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document on stdout; a number that is not finite becomes null."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **_finite(document)}, allow_nan=False))


def note(message: str) -> None:
    """A line for the person at the terminal: stderr, since stdout is for data."""
    click.echo(message, err=True)


def warn(warnings: Sequence[str]) -> None:
    """Results that stand but need a look."""
    for warning in warnings:
        note(f"warning: {warning}")


def tell(findings: Sequence["Finding"]) -> None:
    """What numbered checks found, one line each."""
    for finding in findings:
        note(str(finding))


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


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Keys of the file's top level and of the command's table, `[rectify]`, become defaults."""
    if path is None:
        return
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: a TOML file expected, got {error}") from error
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    for name in tables:
        _check_known(path, name, root.command.list_commands(root), "command")
    entries = {**document, **tables.get(str(context.info_name), {})}
    options = {
        option.removeprefix("--"): parameter
        for parameter in context.command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    defaults: dict[str, Any] = {}
    for key, value in entries.items():
        if not isinstance(value, dict):
            name = key.replace("_", "-")
            _check_known(path, name, list(options), "option")
            option = options[name]
            is_several = isinstance(option, click.Option) and option.multiple
            is_one = is_several and not isinstance(value, list)
            defaults[str(option.name)] = [value] if is_one else value
    context.default_map = {**(context.default_map or {}), **defaults}


def _check_known(path: Path, name: str, known: list[str], kind: str) -> None:
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
        raise click.UsageError(f"{path}: '{name}' is no {kind} here; {hint}")
