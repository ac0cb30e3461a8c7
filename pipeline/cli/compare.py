"""`pipeline compare`: every method on one cache, or on several seeds, against the baselines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, tell, warn
from marr_pipeline.cli.help import option, options_of
from marr_pipeline.cli.options import (
    ChoiceList,
    any_head_option,
    class_distribution_option,
    groups_option,
    input_type,
    json_option,
    mute_option,
    of_scoring,
    overwrite_option,
    seed_type,
    split_option,
    target_prior_option,
)
from marr_pipeline.cli.outputs import check_outputs, check_suffix, output_option
from marr_pipeline.files import COMPARISON
from marr_pipeline.progress import ProgressLine

FORMAT_OF_SUFFIX = {".txt": "terminal", ".md": "markdown", ".tex": "latex", ".csv": "csv"}


def _refuse_old_name(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None:
        raise click.UsageError("--prior: --class-distribution expected, its name now; use that")


of_methods, of_table = options_of("Methods"), options_of("Table")


@command("compare", example="pipeline compare digits.h5 --methods marr,bcts,lws -o table.md")
@click.argument(
    "files", type=input_type, nargs=-1, required=True, metavar="CACHE... [RECTIFIER]..."
)
@of_methods(
    "--methods",
    metavar="KEY,...",
    help="Names such as marr or lws:official, which is a preset. softmax and logit-adjustment are "
    f"always there.  [default: {','.join(names.COMPARED)}, as far as CACHE can carry them]",
)
@of_methods("--all", "shows_all", is_flag=True, help="Every method with every preset of its own.")
@of_methods(
    "--plugin",
    "plugins",
    type=input_type,
    multiple=True,
    metavar="FILE.py",
    help="Python file with methods of your own in a dict METHODS, which stand beside the others, "
    "see docs/extending.md; may be repeated.",
)
@any_head_option
@split_option
@groups_option
@class_distribution_option
@target_prior_option
@option(
    "--prior",
    hidden=True,
    expose_value=False,
    callback=_refuse_old_name,
)
@of_scoring(
    "--resamples",
    expert=True,
    type=click.IntRange(min=100),
    default=2_000,
    help="Of the bootstrap.",
)
@of_methods("--seed", type=seed_type, default=0, help="Of the resamples and of sgd's batches.")
@mute_option
@of_table(
    "--format",
    "table_format",
    type=click.Choice(names.TABLE_FORMATS),
    help="[default: by the suffix of -o, else terminal]",
)
@of_table(
    "--columns",
    expert=True,
    type=ChoiceList(names.TABLE_COLUMNS),
    metavar="KEY,...",
    help=f"Of one table, instead of all columns in two: {', '.join(names.TABLE_COLUMNS)}.",
)
@of_table(
    "--intervals/--no-intervals",
    expert=True,
    default=None,
    help="With every number, or with none.  [default: with overall accuracy and gains]",
)
@of_table(
    "--caption",
    expert=True,
    default="",
    show_default=False,
    help="Of the table of --columns, in plain text.",
)
@of_table(
    "--label", expert=True, default="", show_default=False, help="Of a LaTeX table: tab:methods."
)
@output_option(COMPARISON, help="Write the tables: .txt, .md, .tex or .csv.")
@overwrite_option
@json_option
def cli_command(
    files: tuple[Path, ...],
    methods: str | None,
    shows_all: bool,
    table_format: str | None,
    columns: tuple[str, ...] | None,
    intervals: bool | None,
    caption: str,
    label: str,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Fit methods on each CACHE and compare them by paired tests.

    Softmax and logit adjustment are always among them. One CACHE gives intervals and paired tests.
    Several, which must differ in their seeds alone, give means and standard deviations. Files of
    rectifiers that were fitted on it stand beside them. Nothing is fitted or chosen on the split
    that is scored.
    """
    if shows_all and methods is not None:
        raise click.UsageError("--all: no --methods beside it expected; leave one of them out")
    if output is not None:
        check_suffix(output, () if table_format else tuple(FORMAT_OF_SUFFIX))
        table_format = table_format or FORMAT_OF_SUFFIX[output.suffix]
    check_outputs()
    if label and table_format != "latex":
        raise click.UsageError(
            f"--label: --format latex expected beside it, got {table_format or 'terminal'}; leave "
            "it out"
        )

    from marr_pipeline.workflows.compare import Layout, compare
    from marr_pipeline.workflows.suited import caches_and_rectifiers

    caches, rectifiers = caches_and_rectifiers(files)
    if not caches:
        raise click.UsageError(f"CACHE: a cache beside {rectifiers[0]} expected, got none; name it")
    layout = Layout(columns=columns, has_intervals=intervals, caption=caption, label=label)
    said: list[str] = []

    def say(warning: str) -> None:
        said.append(warning)
        warn([warning])

    comparison = compare(
        caches,
        methods="all" if shows_all else methods and methods.split(","),
        rectifiers=rectifiers,
        **options,
        progress=ProgressLine("comparing", unit=" methods"),
        say=say,
    )
    warn([f"without {key}: {reason}" for key, reason in comparison.failed.items()])
    for key, reason in comparison.skipped.items():
        note(f"without {key}: it {reason}, which {_these(caches)} lack")
    if output is not None:
        comparison.save(output, table_format or "terminal", layout, overwrite=overwrite)
        note(f"wrote {output}")
    if as_json:
        print_json(comparison.document())
    else:
        shown = "terminal" if output else table_format or "terminal"
        click.echo(comparison.text(shown, layout))
    tell([finding for finding in comparison.checks if str(finding) not in said])


def _these(caches: Sequence[Path]) -> str:
    return "these caches" if len(caches) > 1 else str(caches[0])
