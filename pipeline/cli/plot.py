"""`pipeline plot`: figures from a cache and rectifiers, each with the numbers it shows."""

from pathlib import Path
from typing import Literal

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, warn
from marr_pipeline.cli.options import (
    FIGURE_SUFFIXES,
    any_head_option,
    check_output,
    groups_option,
    input_type,
    output_type,
)
from marr_pipeline.progress import ProgressLine


@command("plot")
@click.argument("figure", type=click.Choice(names.FIGURES))
@click.argument("cache", type=input_type)
@click.argument("rectifiers", type=input_type, nargs=-1)
@click.option("--split", type=click.Choice(names.SPLITS), default="test")
@groups_option
@any_head_option
@click.option(
    "--width",
    type=click.Choice(names.FIGURE_WIDTHS),
    default="page",
    help="Of a paper's two columns, or of one, which curves and confusion cannot be.",
)
@click.option(
    "--sweep",
    "swept",
    type=input_type,
    help="For gamma: a table of `pipeline sweep -o`.  [default: sweep now]",
)
@click.option(
    "--classes",
    metavar="A,B",
    help="For geometry: two names or ids.  [default: the commonest and the rarest]",
)
@click.option(
    "--dpi", type=click.IntRange(50, 2_400), help="Dots per inch of a .png.  [default: 200]"
)
@click.option("--title", default="", show_default=False, help="Over the figure.")
@click.option(
    "--names/--no-names",
    "is_named",
    default=None,
    show_default=False,
    help="Of classes along the axis, as many as can be read.  [default: up to 40 classes]",
)
@click.option("-o", "--output", type=output_type, required=True, help="Figure: .png, .pdf, .svg.")
def cli_command(
    figure: str,
    cache: Path,
    rectifiers: tuple[Path, ...],
    split: str,
    groups: str | None,
    any_head: bool,
    width: Literal["page", "column"],
    swept: Path | None,
    classes: str | None,
    dpi: int | None,
    title: str,
    is_named: bool | None,
    output: Path,
) -> None:
    """Draw FIGURE of CACHE before and after RECTIFIERS; its numbers go beside it as .csv."""
    from marr_pipeline.workflows.plot import plot

    check_output(output, suffixes=FIGURE_SUFFIXES)
    written = plot(
        figure,
        cache,
        rectifiers,
        output=output,
        split=split,
        groups=groups,
        any_head=any_head,
        width=width,
        dpi=dpi,
        title=title,
        is_named=is_named,
        swept=swept,
        classes=classes,
        progress=ProgressLine("fitting", unit=" fits"),
        say=lambda warning: warn([warning]),
    )
    note(f"wrote {' and '.join(map(str, written))}")
