"""`pipeline views`: what augmentation makes of a dataset's images, to look at before training."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline.cli.command import command, note
from marr_pipeline.cli.help import option
from marr_pipeline.cli.options import overwrite_option
from marr_pipeline.cli.outputs import FIGURE_SUFFIXES, check_outputs, output_option
from marr_pipeline.cli.phase_one_options import augmentation_option, data_options
from marr_pipeline.files import FIGURE
from marr_pipeline.progress import ProgressLine
from marr_pipeline.workflows.request import Listener, PhaseOneRequest


@command("views", example="pipeline views --dataset digits-lt -o views.png")
@data_options
@augmentation_option()
@option("--rows", type=click.IntRange(min=1, max=40), default=8, help="Images, of one class.")
@option("--columns", type=click.IntRange(min=1, max=20), default=8, help="Views of each.")
@output_option(FIGURE, *FIGURE_SUFFIXES, required=True, help="Figure: .png, .pdf, .svg.")
@overwrite_option
def cli_command(
    augmentation: str | None, rows: int, columns: int, output: Path, overwrite: bool, **request: Any
) -> None:
    """Draw training images and their augmented views.

    They are those that `extract` makes with this seed. One image of each of --rows classes, from
    the largest class to the smallest; the first column is the clean image.
    """
    asked = PhaseOneRequest(**request)
    check_outputs()

    from marr_pipeline.workflows.views import views

    views(
        asked,
        rows=rows,
        columns=columns,
        output=output,
        overwrite=overwrite,
        augmentation=augmentation,
        listener=Listener(note, ProgressLine),
    )
