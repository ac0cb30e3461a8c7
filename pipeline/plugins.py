"""Code of a user's own: a Python file that is run, or a function that is called.

What goes wrong in it is told in one line, by file and line, and what it prints goes to stderr; see
docs/extending.md.
"""

import inspect
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from marr_pipeline.errors import ConfigError, PipelineError, PluginError, described

Function = Callable[..., Any]
_WRONG = (Exception, SystemExit)
"""The latter too: it is for this program to say how it ends."""


def read_plugin(path: Path, table: str) -> dict[str, Function]:
    """The functions that a Python file has in a dict, by their names.

    The file may import what lies beside it, as a script may.

    Args:
        path: the file, which is run.
        table: name of the dict, `METHODS` or `LOSSES`.

    Raises:
        ConfigError: the file has no such dict.
        PluginError: it raised.
    """
    path = path.resolve()
    name = f"marr_plugin_{path.stem}"
    loader = SourceFileLoader(name, str(path))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # where pickle and dataclasses look for it
    sys.path.insert(0, str(path.parent))
    try:
        with redirect_stdout(sys.stderr):
            loader.exec_module(module)
    except _WRONG as error:
        raise PluginError(_told(error, str(path))) from error
    finally:
        sys.path.remove(str(path.parent))
    found = getattr(module, table, None)
    if not isinstance(found, dict) or not found:
        got = "none" if found is None else repr(found)
        raise ConfigError(
            f'{path}: {table} = {{"NAME": function}} expected at its top level, got {got}; add it, '
            "see docs/extending.md"
        )
    return found


def installed_methods() -> dict[str, EntryPoint]:
    """Of packages that are installed beside this one, functions as `add_method` takes them."""
    return {point.name: point for point in entry_points(group="marr_pipeline.methods")}


def check_plugin(name: object, function: object, *, taken: tuple[str, ...], what: str) -> None:
    """Refuse what cannot be added under a name.

    Args:
        name: that a user will type.
        function: what it stands for.
        taken: names that mean something here.
        what: `method` or `loss`.

    Raises:
        ConfigError: a name that is taken or could not be typed, or no function.
    """
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name):
        raise ConfigError(f"{what}: a name such as my-{what} expected, got {name!r}; take one")
    if name in taken:
        raise ConfigError(
            f"{what}: a name of its own expected, got {name}, which is here already; choose another"
        )
    if not callable(function):
        raise ConfigError(f"{what} {name}: a function expected, got {function!r}; give one")


def call(function: Function, *arguments: object, what: str, **named: object) -> Any:
    """What a function of the user's gives.

    Args:
        function: to be called.
        arguments: of it.
        what: how an error names it.
        named: arguments of it, by name.

    Raises:
        PluginError: it raised.
    """
    try:
        with redirect_stdout(sys.stderr):
            return function(*arguments, **named)
    except PipelineError:
        raise
    except _WRONG as error:
        code = getattr(inspect.unwrap(function), "__code__", None)
        file = None if code is None else code.co_filename
        raise PluginError(f"{what}: {_told(error, file)}") from error


def _told(error: BaseException, file: str | None) -> str:
    """`FILE:LINE: KIND: message`, at the last line of that file that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines.append(error.lineno)
    if not lines:
        file, lines = frames[-1].filename, [frames[-1].lineno]
    return f"{file}:{lines[-1]}: {described(error)}"
