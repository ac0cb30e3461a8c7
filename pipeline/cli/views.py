"""`pipeline views`: what augmentation makes of a dataset's images, to look at before training."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline.cli.command import command, note
from marr_pipeline.cli.options import FIGURE_SUFFIXES, check_output, output_type
from marr_pipeline.cli.phase_one_options import augmentation_option, data_options


@command("views")
@data_options
@augmentation_option
@click.option("--rows", type=click.IntRange(min=1, max=40), default=8, help="Images, of one class.")
@click.option("--columns", type=click.IntRange(min=1, max=20), default=8, help="Views of each.")
@click.option("-o", "--output", type=output_type, required=True, help="Figure: .png, .pdf, .svg.")
def cli_command(
    augmentation: str | None, rows: int, columns: int, output: Path, **request: Any
) -> None:
    """Draw training images and their augmented views, as `extract` makes them with this seed.

    One image of each of --rows classes, from the largest class to the smallest; the first column
    is the clean image.
    """
    from marr_pipeline.progress import ProgressLine
    from marr_pipeline.workflows.phase_one import Listener, PhaseOneRequest
    from marr_pipeline.workflows.views import views

    check_output(output, suffixes=FIGURE_SUFFIXES)
    views(
        PhaseOneRequest(**request),
        rows=rows,
        columns=columns,
        output=output,
        augmentation=augmentation,
        listener=Listener(note, ProgressLine),
    )
