"""`pipeline compare`: every method on one cache, or on several seeds, against the baselines."""

from collections.abc import Sequence
from pathlib import Path

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, tell, warn
from marr_pipeline.cli.options import (
    ChoiceList,
    any_head_option,
    check_output,
    class_distribution_option,
    groups_option,
    input_type,
    json_option,
    mute_option,
    output_type,
    seed_type,
    target_prior_option,
)
from marr_pipeline.progress import ProgressLine

FORMAT_OF_SUFFIX = {".txt": "terminal", ".md": "markdown", ".tex": "latex", ".csv": "csv"}


def _refuse_old_name(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None:
        raise click.UsageError("--prior: --class-distribution expected, its name now; use that")


@command("compare")
@click.argument(
    "files", type=input_type, nargs=-1, required=True, metavar="CACHE... [RECTIFIER]..."
)
@click.option(
    "--methods",
    metavar="KEY,...",
    help="Names such as marr, or with a preset such as lws:official; softmax and logit-adjustment "
    f"are always there.  [default: {','.join(names.COMPARED)}, as far as CACHE can carry them]",
)
@click.option("--all", "shows_all", is_flag=True, help="Every method with every preset of its own.")
@any_head_option
@click.option("--split", type=click.Choice(names.SPLITS), default="test")
@groups_option
@class_distribution_option
@target_prior_option
@click.option(
    "--prior",
    hidden=True,
    expose_value=False,
    callback=_refuse_old_name,
)
@click.option("--resamples", type=click.IntRange(min=100), default=2_000, help="Of the bootstrap.")
@click.option("--seed", type=seed_type, default=0, help="Of the resamples and of sgd's batches.")
@mute_option
@click.option(
    "--format",
    "table_format",
    type=click.Choice(names.TABLE_FORMATS),
    help="[default: by the suffix of -o, else terminal]",
)
@click.option(
    "--columns",
    type=ChoiceList(names.TABLE_COLUMNS),
    metavar="KEY,...",
    help=f"Of one table, instead of all columns in two: {', '.join(names.TABLE_COLUMNS)}.",
)
@click.option(
    "--intervals/--no-intervals",
    default=None,
    help="With every number, or with none.  [default: with overall accuracy and gains]",
)
@click.option(
    "--caption", default="", show_default=False, help="Of the table of --columns, in plain text."
)
@click.option("--label", default="", show_default=False, help="Of a LaTeX table: tab:methods.")
@click.option("-o", "--output", type=output_type, help="Write the tables: .txt, .md, .tex or .csv.")
@json_option
def cli_command(
    files: tuple[Path, ...],
    methods: str | None,
    shows_all: bool,
    any_head: bool,
    split: str,
    groups: str | None,
    class_distribution: str | None,
    target_prior: str | None,
    resamples: int,
    seed: int,
    mute: list[str],
    table_format: str | None,
    columns: tuple[str, ...] | None,
    intervals: bool | None,
    caption: str,
    label: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Fit methods on each CACHE and compare it with softmax and logit adjustment.

    One CACHE gives intervals and paired tests. Several, which must differ in their seeds alone,
    give means and standard deviations. Files of rectifiers that were fitted on it stand beside
    them. Nothing is fitted or chosen on the split that is scored.
    """
    from marr_pipeline.workflows.compare import Layout, compare
    from marr_pipeline.workflows.suited import caches_and_rectifiers

    caches, rectifiers = caches_and_rectifiers(files)
    if not caches:
        raise click.UsageError(f"CACHE: a cache beside {rectifiers[0]} expected, got none; name it")
    if shows_all and methods is not None:
        raise click.UsageError("--all: no --methods beside it expected; leave one of them out")
    layout = Layout(columns=columns, has_intervals=intervals, caption=caption, label=label)
    if output is not None:
        check_output(output, suffixes=() if table_format else tuple(FORMAT_OF_SUFFIX))
        table_format = table_format or FORMAT_OF_SUFFIX[output.suffix]
    if label and table_format != "latex":
        raise click.UsageError(
            f"--label: --format latex expected beside it, got {table_format or 'terminal'}; leave "
            "it out"
        )
    said: list[str] = []

    def say(warning: str) -> None:
        said.append(warning)
        warn([warning])

    comparison = compare(
        caches,
        methods="all" if shows_all else methods and methods.split(","),
        rectifiers=rectifiers,
        any_head=any_head,
        split=split,
        groups=groups,
        class_distribution=class_distribution,
        target_prior=target_prior,
        resamples=resamples,
        seed=seed,
        mute=mute,
        progress=ProgressLine("comparing", unit=" methods"),
        say=say,
    )
    warn([f"without {key}: {reason}" for key, reason in comparison.failed.items()])
    for key, reason in comparison.skipped.items():
        note(f"without {key}: it {reason}, which {_these(caches)} lack")
    if output is not None:
        comparison.save(output, table_format or "terminal", layout)
        note(f"wrote {output}")
    if as_json:
        print_json(comparison.document())
    else:
        shown = "terminal" if output else table_format or "terminal"
        click.echo(comparison.text(shown, layout))
    tell([finding for finding in comparison.checks if str(finding) not in said])


def _these(caches: Sequence[Path]) -> str:
    return "these caches" if len(caches) > 1 else str(caches[0])
