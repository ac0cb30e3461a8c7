"""A method's options: their types, which say what values they may have, and how a user says them.

They are keyword arguments of the function or class that a method is.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from marr_pipeline.errors import ConfigError

Value = bool | int | float | str

Share = Annotated[float, (0.0, 1.0)]
"""A number with its least and its largest value."""
BelowOne = Annotated[float, (0.0, 1 - 1e-9)]
Exponent = Annotated[float, (0.0, 10.0)]
Weight = Annotated[float, (0.0, 100.0)]
Scale = Annotated[float, (1e-3, 1e4)]
Size = Annotated[int, (1, 65_536)]

GIVEN = ("class_counts", "progress")
"""Of a training: no options, whatever default they have."""


def parse_options(
    function: Callable[..., Any], texts: Sequence[str], *, method: str
) -> dict[str, Value]:
    """Every option of a method, at its default unless it is said.

    Args:
        function: its keyword arguments with a default, which are numbers, truth values or
            `Literal`s, are the options.
        texts: `NAME=VALUE` each; of equal names the last counts.
        method: how errors name it.

    Raises:
        ConfigError: an unknown name, or a value that its type excludes.
    """
    parameters = inspect.signature(function).parameters.values()
    options = {
        each.name: each.default
        for each in parameters
        if each.default is not each.empty and each.name not in GIVEN
    }
    kinds = get_type_hints(function, include_extras=True)
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in options or not equals:
            known = ", ".join(f"{key}={default}" for key, default in options.items())
            raise ConfigError(
                f"--method-option: {f'one of {known}' if known else 'none'} expected for {method}, "
                f"got {text}; leave it out or correct it"
            )
        kind = kinds.get(name, type(options[name]))
        options[name] = _parsed(value, kind, where=f"--method-option {name}")
    return options


def _parsed(text: str, kind: Any, *, where: str) -> Value:
    choices: dict[str, Value]
    if get_origin(kind) is Literal:
        choices = {str(choice): choice for choice in get_args(kind)}
    elif kind is bool:
        choices = {"true": True, "false": False}
    else:
        low, high = -math.inf, math.inf
        if get_origin(kind) is Annotated:
            kind, (low, high) = get_args(kind)
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        is_whole = kind is not int or number.is_integer()
        if not (math.isfinite(number) and is_whole):
            wanted = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{where}: {wanted} expected, got {text}; give one")
        if not low <= number <= high:
            raise ConfigError(f"{where}: {low} to {high} expected, got {text}; give one of these")
        return int(number) if kind is int else number
    if text.lower() not in choices:
        raise ConfigError(f"{where}: {' or '.join(choices)} expected, got {text}; give one")
    return choices[text.lower()]
