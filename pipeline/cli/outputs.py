"""What a command writes: its option, and its refusal before any work is done for it.

A path that cannot be written is a failure (exit code 1).
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from marr_pipeline.cli.config import CONFIG
from marr_pipeline.cli.options import WordOrFile, of_output
from marr_pipeline.errors import ConfigError
from marr_pipeline.files import FIGURE, NUMBERS, Product, check_replaceable, check_writable

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")


class OutputPath(click.Path):
    """A path to write to, which has a name; the rest is `check_outputs`' matter.

    Args:
        product: what is written there; None for a folder of several.
        suffixes: of its format; without any all are taken.
    """

    def __init__(self, product: Product | None, *suffixes: str) -> None:
        super().__init__(path_type=Path)
        self._product = product
        self._suffixes = suffixes

    def files(self, path: Path) -> dict[Path, Product]:
        """All that is written where `path` is given."""
        if self._product is FIGURE:
            return {path: FIGURE, path.with_suffix(".csv"): NUMBERS}
        return {} if self._product is None else {path: self._product}

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """The path."""
        if not os.fspath(value):
            self.fail("a file name expected, got an empty one; is a variable unset?", param, ctx)
        path = super().convert(value, param, ctx)
        check_suffix(Path(os.fsdecode(path)), self._suffixes)
        return path


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a name whose suffix is none of a format's; without any all are taken.

    Raises:
        click.UsageError: it is none of them.
    """
    if suffixes and path.suffix not in suffixes:
        raise click.UsageError(
            f"-o {path}: a name ending in {' or '.join(suffixes)} expected, got '{path.suffix}'"
        )


def check_outputs() -> None:
    """Refuse the outputs of the command that runs, before any work is done for them.

    An option of `OutputPath` is one; every other value that is a path is an input. A dry run writes
    nothing, so the folder is asked and not tried.

    Raises:
        ConfigError: an output is an input, the same file under another name counted.
        PipelineError: something else is there, or the folder is missing or not writable.
    """
    context = click.get_current_context()
    inputs = list(_paths(context.meta.get(CONFIG)))
    outputs: dict[Path, Product] = {}
    for parameter in context.command.params:
        value, kind = context.params.get(str(parameter.name)), parameter.type
        if isinstance(kind, OutputPath) and value is not None:
            outputs |= kind.files(value)
        else:
            is_file = isinstance(kind, WordOrFile) and value not in (None, *kind.words)
            inputs += _paths(Path(str(value)) if is_file else value)
    for path, product in outputs.items():
        _check_no_input(path, product, inputs)
        check_replaceable(path, product, overwrite=bool(context.params.get("overwrite")))
        check_writable(path, touches=not context.params.get("dry_run"))


def _paths(value: object) -> Iterator[Path]:
    """The paths among the values of an option."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _paths(each)
    elif isinstance(value, Path):
        yield value


def _check_no_input(output: Path, product: Product, inputs: Iterable[Path]) -> None:
    """Refuse an input, and of what lies in a folder of inputs all but the command's own kind."""
    for path in inputs if output.exists() else ():
        is_inside = path.is_dir() and path.resolve() in output.resolve().parents
        if (is_inside and not product.matches(output)) or output.samefile(path):
            raise ConfigError(
                f"{output}: a file of its own for each output expected, got an input again, "
                f"{path}{' and what lies in it' if is_inside else ''}; choose another name"
            )


def output_option(
    product: Product | None, *suffixes: str, **attributes: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: `-o`, a product's name that ends in one of the suffixes."""
    return of_output("-o", "--output", type=OutputPath(product, *suffixes), **attributes)
