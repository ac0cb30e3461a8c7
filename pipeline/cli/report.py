"""`pipeline report`: one page of HTML about a cache and its rectifiers."""

from pathlib import Path

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, tell
from marr_pipeline.cli.options import (
    any_head_option,
    check_output,
    groups_option,
    input_type,
    json_option,
    mute_option,
    output_type,
)
from marr_pipeline.progress import ProgressLine


@command("report")
@click.argument("cache", type=input_type)
@click.argument("rectifiers", type=input_type, nargs=-1)
@click.option("--split", type=click.Choice(names.SPLITS), default="test")
@groups_option
@any_head_option
@click.option(
    "--methods",
    metavar="KEY,...",
    help="Compared beside RECTIFIERS.  [default: a few that a reader needs]",
)
@click.option("--resamples", type=click.IntRange(min=100), default=1_000, help="Of the intervals.")
@mute_option
@click.option("-o", "--output", type=output_type, required=True, help="The page, .html.")
@json_option
def cli_command(
    cache: Path,
    rectifiers: tuple[Path, ...],
    split: str,
    groups: str | None,
    any_head: bool,
    methods: str | None,
    resamples: int,
    mute: list[str],
    output: Path,
    as_json: bool,
) -> None:
    """Write a page about CACHE before and after RECTIFIERS: words, tables, figures, checks.

    It is one file that loads nothing from outside. Without RECTIFIERS, MARR's default is fitted.
    """
    from marr_pipeline.workflows.report import write_report

    check_output(output, suffixes=(".html", ".htm"))
    found = write_report(
        cache,
        rectifiers,
        output=output,
        split=split,
        groups=groups,
        any_head=any_head,
        methods=None if methods is None else methods.split(","),
        resamples=resamples,
        mute=mute,
        progress=ProgressLine("reporting", unit=" parts"),
    )
    tell(found.checks)
    if as_json:
        print_json(found.document())
    note(f"wrote {output}")
