"""A command's options as TOML: `--config FILE` reads, `pipeline --print-config COMMAND` writes."""

import json
import textwrap
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from marr_pipeline.cli.help import SHOWS_ALL, grouped

CONFIG = "marr_pipeline.cli.config.file"
"""Key of the file in a context's `meta`."""
WIDTH = 96
HEADER = """\
Options of `pipeline {name}`, for `pipeline {name} --config FILE`. Every setting stands at its
default as a comment: take its # away to give it. What is given here counts as given on the command
line, where an option is said again in place of this one."""


def read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Keys of the file's top level and of the command's table, `[rectify]`, become defaults."""
    if path is None:
        return
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also of numbers too long for Python
        raise click.UsageError(f"{path}: a TOML file expected, got {error}") from error
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    for name in tables:
        _check_known(path, name, root.command.list_commands(root), "command")
    shared = {key: value for key, value in document.items() if key not in tables}
    entries = {**shared, **tables.get(str(context.info_name), {})}
    options = {
        option.removeprefix("--"): parameter
        for parameter in context.command.params
        for option in parameter.opts
        if option.startswith("--") and not parameter.is_eager
    }
    defaults: dict[str, Any] = {}
    for key, value in entries.items():
        name = key.replace("_", "-")
        _check_known(path, name, list(options), "option")
        option = options[name]
        assert isinstance(option, click.Option)
        is_one = option.multiple and not isinstance(value, list)
        said = _as_typed([value] if is_one else value, option, where=f"{path}: {key}")
        defaults[str(option.name)] = said
    context.meta[CONFIG] = path
    context.default_map = {**(context.default_map or {}), **defaults}


def config_text(command: click.Command, root: click.Context) -> str:
    """Every option of a command, with its help; a default is a comment that `--config` takes."""
    name = str(command.name)
    context = command.make_context(name, [], parent=root, resilient_parsing=True)
    context.meta[SHOWS_ALL] = True
    lines = [*_comment(HEADER.format(name=name)), "", f"[{name}]"]
    for group, options in grouped(context).items():
        records = [(each, each.get_help_record(context)) for each in options if not each.is_eager]
        lines += ["", f"# ---- {group} ----"] if any(record for _, record in records) else []
        for each, record in records:
            if record is not None:
                key = max(each.opts, key=len).removeprefix("--")
                value = context.params[str(each.name)]
                lines += ["", *_comment(f"{record[0]}: {record[1]}")]
                lines.append(f"# {key} = ..." if value is None else f"#{key} = {_toml(value)}")
    return "\n".join(lines)


def _as_typed(value: Any, option: click.Option, *, where: str) -> Any:
    """A value of TOML as a command line would have it, on which the option's type can judge."""
    if option.is_bool_flag and isinstance(value, bool):
        return value
    takes_several = option.multiple or option.nargs != 1
    values = value if takes_several and isinstance(value, list) else [value]
    expected = "true or false" if option.is_bool_flag else "text or a number"
    for each in values:
        is_bool = isinstance(each, bool)
        if option.is_bool_flag or is_bool or not isinstance(each, str | int | float):
            raise click.UsageError(f"{where}: {expected} expected, got {each!r}")
    return list(map(str, values)) if takes_several else str(value)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH)]


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _check_known(path: Path, name: str, known: list[str], kind: str) -> None:
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
        raise click.UsageError(f"{path}: {name!r} is no {kind} here; {hint}")
