"""Types and options that several commands share: paths, sizes, lists, and words or files.

A path that a command reads and that does not exist is a usage error (exit code 2).
"""

import glob
import math
import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from marr_pipeline import names
from marr_pipeline.cli.help import OUTPUT, added, options_of

if TYPE_CHECKING:
    from marr_pipeline.workflows.sets import SetSettings

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


UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
"""Of sizes of memory."""


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
of_sets = options_of("Sets")
set_options = added(
    of_sets(
        "--sets",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="COVERAGE",
        help="Sets that hold the true class that often, such as 0.9, calibrated on the split tune.",
    ),
    of_sets(
        "--score",
        type=click.Choice(names.SET_SCORES),
        help="Of sets: prevalence minds rare classes, softmax makes the smallest sets.  "
        "[default: prevalence]",
    ),
    of_sets(
        "--interpolate",
        expert=True,
        type=click.FloatRange(0, 1),
        metavar="W",
        help="Of sets: 0 is one threshold for all, 1 one for each class.  [default: 0]",
    ),
)
"""Decorator: options of what sets of labels are to hold; `chosen_sets` takes their values."""


def chosen_sets(
    coverage: float | None, score: str | None, interpolate: float | None
) -> "SetSettings | None":
    """The settings of sets, if they were asked for.

    Raises:
        click.UsageError: settings of sets that were not.
    """
    from marr_pipeline.workflows.sets import SetSettings

    given = {"score": score, "interpolate": interpolate}
    own = {name: value for name, value in given.items() if value is not None}
    if coverage is not None:
        return SetSettings(coverage=coverage, **own)  # type: ignore[arg-type]
    if own:
        raise click.UsageError(f"--{next(iter(own))}: --sets expected with it; give a coverage")
    return None
