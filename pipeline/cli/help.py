"""What `--help` says: an example, and options in groups, those for experts under `--help-all`.

Of an option `--help` shows the first sentence and the usual default, `--help-all` everything.
"""

import re
import shlex
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import click

OUTPUT, GENERAL = "Output", "General"
"""Groups of what nearly every command has, and of what every one has."""
MOST_METAVAR = 30
"""Characters; a longer choice is told in words, which can be wrapped."""
NAME_COLUMN = 25
SHOWS_ALL = "marr_pipeline.cli.help.shows_all"


class Option(click.Option):
    """An option that knows its place in help.

    Args:
        group: heading under which help shows it.
        expert: shown by `--help-all` alone.
    """

    def __init__(
        self, *args: Any, group: str = "Options", expert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        self.is_expert = expert

    def make_metavar(self, *args: Any, **kwargs: Any) -> str:
        """What stands for the value; of a long choice NAME, since `get_help_record` lists it."""
        if self._long_choice:
            return "NAME"
        return super().make_metavar(*args, **kwargs).removesuffix(" RANGE")

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Name and text, or None if it is not shown."""
        if self.is_expert and not shows_all(ctx):
            return None
        record = super().get_help_record(ctx)
        if record is None:
            return None
        names, text = record
        stated = self.help or ""
        said, mark, default = (stated if shows_all(ctx) else summary(stated)).partition(
            "[default: "
        )
        if self._long_choice:
            said = f"{said.rstrip()} One of {', '.join(self._long_choice)}.  ".lstrip()
        return names, f"{said}{mark}{default}  {text.removeprefix(stated).lstrip()}".strip()

    def get_help_extra(self, ctx: click.Context) -> Any:
        """What stands in brackets; a range is told in full help alone."""
        extra = super().get_help_extra(ctx)
        if not shows_all(ctx):
            extra.pop("range", None)
        return extra

    @property
    def _long_choice(self) -> tuple[str, ...]:
        """What is chosen from, if it is too long for a metavar; else nothing."""
        if self.metavar is not None or not isinstance(self.type, click.Choice):
            return ()
        choices = tuple(self.type.choices)
        return choices if len("|".join(choices)) > MOST_METAVAR else ()


option: Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]] = partial(
    click.option, cls=Option
)
"""Decorator: an option of a command, with `group` and `expert` beside click's own arguments."""


def options_of(group: str) -> Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """`option` for those under one heading."""
    return partial(option, group=group)


def added(
    *options: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: several options, in the order of help."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        return reduce(lambda inner, option: option(inner), reversed(options), function)

    return add


def summary(text: str) -> str:
    """The first sentence of an option's help, and the first of the defaults that it ends in."""
    said, mark, default = text.partition("[default: ")
    first = re.split(r"(?<=\.)\s+(?=\w)", said.strip(), maxsplit=1)[0]
    usual, several, _ = default.partition(";")
    return f"{first}  {mark}{usual}{'; ...]' if several else ''}".strip()


def shows_all(context: click.Context) -> bool:
    """Whether all that is known is asked for, `--help-all`."""
    return bool(context.meta.get(SHOWS_ALL))


def show_all(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    """The callback of `--help-all`: print and leave, as `--help` does."""
    if value and not context.resilient_parsing:
        context.meta[SHOWS_ALL] = True
        click.echo(context.get_help(), color=context.color)
        context.exit()


def grouped(context: click.Context) -> dict[str, list[click.Parameter]]:
    """The options of a command by group, in the order of the command; what all have is last."""
    found: dict[str, list[click.Parameter]] = {}
    for parameter in context.command.get_params(context):
        if not isinstance(parameter, click.Argument):
            found.setdefault(getattr(parameter, "group", GENERAL), []).append(parameter)
    last = {group: found.pop(group) for group in (OUTPUT, GENERAL) if group in found}
    return {**found, **last}


def write_options(context: click.Context, formatter: click.HelpFormatter) -> None:
    """Every group under its heading, names in one column."""
    shown = {
        group: [record for each in options if (record := each.get_help_record(context)) is not None]
        for group, options in grouped(context).items()
    }
    write_table(formatter, shown)


def write_table(formatter: click.HelpFormatter, groups: dict[str, list[tuple[str, str]]]) -> None:
    """Pairs of a name and its text under headings, all texts in one column."""
    widths = {
        group: max((len(name) for name, _ in rows), default=0) for group, rows in groups.items()
    }
    column = min(NAME_COLUMN, max(widths.values()))
    for group, rows in groups.items():
        if rows:
            widest = min(column, max(len(name) for name, _ in rows))
            with formatter.section(group):
                formatter.write_dl(rows, col_max=column, col_spacing=2 + column - widest)


def write_example(formatter: click.HelpFormatter, example: str) -> None:
    """Command lines, as they are typed."""
    with formatter.section("Example"):
        for line in example.strip().splitlines():
            formatter.write(f"{'':>{formatter.current_indent}}{line.strip()}\n")


def example_arguments(example: str) -> list[list[str]]:
    """The arguments of each line of an example, without the name of the program."""
    return [shlex.split(line)[1:] for line in example.replace("\\\n", " ").strip().splitlines()]
