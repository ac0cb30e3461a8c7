"""`pipeline plot`: figures from a cache and rectifiers, each with the numbers it shows."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, warn
from marr_pipeline.cli.help import options_of
from marr_pipeline.cli.options import (
    any_head_option,
    groups_option,
    input_type,
    overwrite_option,
    split_option,
)
from marr_pipeline.cli.outputs import FIGURE_SUFFIXES, check_outputs, output_option
from marr_pipeline.files import FIGURE
from marr_pipeline.progress import ProgressLine

of_figure = options_of("Figure")


@command("plot", example="pipeline plot curves digits.h5 marr.safetensors -o curves.png")
@click.argument("figure", type=click.Choice(names.FIGURES), metavar="FIGURE")
@click.argument("cache", type=input_type)
@click.argument("rectifiers", type=input_type, nargs=-1)
@split_option
@groups_option
@any_head_option
@of_figure(
    "--width",
    type=click.Choice(names.FIGURE_WIDTHS),
    default="page",
    help="Of a paper's two columns, or of one, which curves and confusion cannot be.",
)
@of_figure(
    "--sweep",
    "swept",
    type=input_type,
    help="For gamma: a table of `pipeline sweep -o`.  [default: sweep now]",
)
@of_figure(
    "--classes",
    metavar="A,B",
    help="For geometry: two names or ids.  [default: the commonest and the rarest]",
)
@of_figure(
    "--dpi",
    expert=True,
    type=click.IntRange(50, 2_400),
    help="Dots per inch of a .png.  [default: 200]",
)
@of_figure("--title", default="", show_default=False, help="Over the figure.")
@of_figure(
    "--names/--no-names",
    "is_named",
    default=None,
    show_default=False,
    help="Of classes along the axis, as many as can be read.  [default: up to 40 classes]",
)
@output_option(FIGURE, *FIGURE_SUFFIXES, required=True, help="Figure: .png, .pdf, .svg.")
@overwrite_option
def cli_command(output: Path, **options: Any) -> None:
    """Draw FIGURE of CACHE before and after RECTIFIERS.

    The numbers that it shows go beside it as .csv.
    """
    check_outputs()

    from marr_pipeline.workflows.plot import plot

    written = plot(
        **options,
        output=output,
        progress=ProgressLine("fitting", unit=" fits"),
        say=lambda warning: warn([warning]),
    )
    note(f"wrote {' and '.join(map(str, written))}")
