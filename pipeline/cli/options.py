"""Types and options that several commands share: paths, sizes, lists, and words or files.

A path that a command reads and that does not exist is a usage error (exit code 2); one that it
cannot write is a failure (exit code 1), said before any work is done for it.
"""

import glob
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from marr_pipeline import names
from marr_pipeline.cli.config import CONFIG
from marr_pipeline.cli.help import OUTPUT, options_of
from marr_pipeline.errors import ConfigError
from marr_pipeline.files import FIGURE, NUMBERS, Product, check_replaceable, check_writable

input_type = click.Path(exists=True, dir_okay=False, path_type=Path)
input_folder_type = click.Path(exists=True, file_okay=False, path_type=Path)
seed_type = click.IntRange(min=0, max=names.MAX_SEED)


class MethodName(click.Choice[str]):
    """One of ours or, beside a `--plugin`, any: what it has is known when it is run.

    Args:
        choices: ours.
        also: gives names of others.
    """

    def __init__(self, choices: Sequence[str], also: Callable[[], Collection[str]] = tuple) -> None:
        super().__init__(choices)
        self._also = also

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name."""
        has_plugin = ctx is not None and bool(ctx.params.get("plugins"))  # an eager option
        if has_plugin or (value not in self.choices and value in self._also()):
            return value
        return super().convert(value, param, ctx)


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


FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
"""Of sizes of memory."""


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


class InputFiles(click.Path):
    """A file to read, or a pattern such as `'emb/*.npy'` of several, sorted as people count."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """The paths."""
        text = os.fspath(value)
        # Not `Path.glob`, which takes no absolute pattern.
        found = [] if Path(text).exists() else glob.glob(text)  # noqa: PTH207
        if found:
            return [Path(each) for each in sorted(found, key=_by_numbers)]
        if glob.has_magic(text) and not Path(text).exists():
            self.fail(
                f"a pattern of files that exist expected, got {text}, which matches none",
                param,
                ctx,
            )
        return [super().convert(value, param, ctx)]


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """For sorting: `shard_2` before `shard_10`."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


class FiniteRange(click.FloatRange):
    """click's range of numbers, without nan, which no bound of its own refuses, and infinity."""

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, within the range."""
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"a finite number expected, got {value}", param, ctx)
        return found


def size(value: object) -> int:
    """Bytes of `2G`, `1.5G`, `64MiB`, `1000000`; a plain number is a number of bytes.

    Raises:
        click.BadParameter: no such text.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.I)
    if found is None:
        raise click.BadParameter(f"a size such as 64M or 2G expected, got {value!r}")
    return int(float(found[1]) * UNITS[found[2].upper()])


class NumberList(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them, or `first:last:step` with both ends.

    Args:
        is_whole: refuse a number with a fraction.
    """

    name = "numbers"

    def __init__(self, *, is_whole: bool = False) -> None:
        self._is_whole = is_whole

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """The numbers, in the order given."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        try:
            if ":" in text:
                first, last, step = (float(part) for part in text.split(":"))
                found = _range(first, last, step)
            else:
                found = tuple(float(part) for part in text.split(","))
        except OverflowError:
            most = f"{names.MAX_POINTS:,}"
            self.fail(
                f"at most {most} numbers expected, got {text!r}; take a larger step", param, ctx
            )
        except (ValueError, ZeroDivisionError):
            self.fail(f"numbers such as 0,1,1.2 or 0:1.6:0.2 expected, got {text!r}", param, ctx)
        if not self._is_whole:
            return found
        if not all(number.is_integer() for number in found):
            self.fail(f"whole numbers such as 1,2,4 expected, got {text!r}", param, ctx)
        return tuple(int(number) for number in found)


class ChoiceList(click.ParamType[tuple[str, ...]]):
    """Names out of a choice, with commas between them."""

    name = "names"

    def __init__(self, choices: Sequence[str]) -> None:
        self._choices = tuple(choices)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The names, in the order given."""
        if isinstance(value, tuple):
            return value
        chosen = tuple(str(value).split(","))
        unknown = [name for name in chosen if name not in self._choices]
        if unknown:
            known = ", ".join(self._choices)
            self.fail(f"names out of {known} expected, got {unknown[0]!r}", param, ctx)
        return chosen

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows."""
        return f"[{'|'.join(self._choices)}],..."

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """What the name after the last comma may be."""
        before, comma, last = incomplete.rpartition(",")
        fitting = (name for name in self._choices if name.startswith(last))
        return [CompletionItem(f"{before}{comma}{name}") for name in fitting]


def _range(first: float, last: float, step: float) -> tuple[float, ...]:
    count = round((last - first) / step, 6)
    if not 0 <= count < math.inf:
        raise ValueError
    if count >= names.MAX_POINTS:
        raise OverflowError
    # Rounded, so that 0:1.6:0.2 has 0.6 and not 0.6000000000000001.
    return tuple(round(first + index * step, 12) for index in range(math.floor(count) + 1))


class WordOrFile(click.ParamType[str]):
    """The word or the path, as it was typed; in `./uniform` a file may have a word's name."""

    name = "word or file"

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word or the path itself."""
        if value not in self.words and not Path(value).is_file():
            words = ", ".join(self.words)
            what = "which is no file" if Path(value).exists() else "which does not exist"
            what = names.NEEDS_ROWS if value == names.ESTIMATE else what
            self.fail(f"{words} or a file expected, got {value}, {what}", param, ctx)
        return value

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows."""
        return f"[{'|'.join(self.words)}|FILE]"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The words that it may be, or else files."""
        fitting = [CompletionItem(word) for word in self.words if word.startswith(incomplete)]
        return fitting or [CompletionItem(incomplete, type="file")]


FILE_OF_SHARES = (
    "FILE has a share for each class, by name (a JSON object, or a .csv of class,share) or in "
    "class order."
)
of_output, of_scoring = options_of(OUTPUT), options_of("Scoring")


def output_option(
    product: Product | None, *suffixes: str, **attributes: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: `-o`, a product's name that ends in one of the suffixes."""
    return of_output("-o", "--output", type=OutputPath(product, *suffixes), **attributes)


overwrite_option = of_output(
    "--overwrite",
    is_flag=True,
    help="Replace whatever file is there. Without it the same command's own results alone are.",
)
json_option = of_output(
    "--json", "as_json", is_flag=True, help="A JSON document on stdout, not a table."
)
split_option = of_scoring(
    "--split", type=click.Choice(names.SPLITS), default="test", help="Whose rows are scored."
)
eval_split_option = of_scoring(
    "--eval-split",
    type=click.Choice(names.SPLITS),
    default="test",
    help="Whose rows are scored.",
)
groups_option = of_scoring(
    "--groups",
    metavar="CUTS",
    help="Many-shot above and few-shot below so many rows. They are training rows; auto takes "
    "thirds of the classes.  [default: 100,20]",
)
class_distribution_option = of_scoring(
    "--class-distribution",
    type=WordOrFile(names.CLASS_DISTRIBUTIONS),
    help="Metrics are about these class shares. Predictions stay. "
    f"{FILE_OF_SHARES}  [default: the split's own]",
)
target_prior_option = of_scoring(
    "--target-prior",
    type=WordOrFile(names.CLASS_DISTRIBUTIONS),
    help="Moves the logits to these class shares. They are those of the place where they are used, "
    f"and are scored under. {FILE_OF_SHARES}  [default: logits stay]",
)
any_head_option = of_scoring(
    "--any-head", expert=True, is_flag=True, help="Accept a rectifier fitted on another head."
)
mute_option = of_scoring(
    "--mute",
    expert=True,
    multiple=True,
    type=ChoiceList(names.CHECKS),
    metavar="R06,...",
    callback=lambda context, parameter, given: [code for codes in given for code in codes],
    help="Checks that are not to speak, docs/checks.md.",
)
source_option = options_of("Rows")(
    "--from",
    "source",
    type=click.Choice(names.SOURCES),
    help="What of CACHE is fitted.  [default: logits where stored]",
)
scale_option = options_of("Rows")(
    "--scale",
    type=click.Choice(names.SCALES),
    help="What the scores in files are; of probabilities the logarithm is taken.  [default: "
    "logits, and what looks like another is refused]",
)
