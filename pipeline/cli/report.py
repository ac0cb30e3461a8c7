"""`pipeline report`: one page of HTML about a cache and its rectifiers."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline.cli.command import command, note, print_json, tell
from marr_pipeline.cli.options import (
    any_head_option,
    groups_option,
    input_type,
    json_option,
    mute_option,
    of_scoring,
    overwrite_option,
    split_option,
)
from marr_pipeline.cli.outputs import check_outputs, output_option
from marr_pipeline.files import REPORT
from marr_pipeline.progress import ProgressLine


@command("report", example="pipeline report digits.h5 marr.safetensors -o report.html")
@click.argument("cache", type=input_type)
@click.argument("rectifiers", type=input_type, nargs=-1)
@split_option
@groups_option
@any_head_option
@of_scoring(
    "--methods",
    metavar="KEY,...",
    help="Compared beside RECTIFIERS.  [default: a few that a reader needs]",
)
@of_scoring(
    "--resamples",
    expert=True,
    type=click.IntRange(min=100),
    default=1_000,
    help="Of the intervals.",
)
@mute_option
@output_option(REPORT, ".html", ".htm", required=True, help="The page, .html.")
@overwrite_option
@json_option
def cli_command(methods: str | None, output: Path, as_json: bool, **options: Any) -> None:
    """Write a page about CACHE before and after RECTIFIERS.

    It has words, tables, figures and checks, and is one file that loads nothing from outside.
    Without RECTIFIERS, MARR's default is fitted.
    """
    check_outputs()

    from marr_pipeline.workflows.report import write_report

    found = write_report(
        **options,
        output=output,
        methods=None if methods is None else methods.split(","),
        progress=ProgressLine("reporting", unit=" parts"),
    )
    tell(found.checks)
    if as_json:
        print_json(found.document())
    for paragraph in found.words:
        note(paragraph)
    note(f"wrote {output}")
