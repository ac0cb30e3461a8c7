"""`pipeline views`: what augmentation makes of a dataset's images, to look at before training."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marr_pipeline.cli.command import command, note
from marr_pipeline.cli.options import FIGURE_SUFFIXES, check_output, output_type
from marr_pipeline.cli.phase_one_options import augmentation_option, data_options

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from marr_pipeline.data.dataset import LongTailedDataset


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
    from marr_pipeline.plots.contact_sheet import contact_sheet_figure, contact_sheet_table
    from marr_pipeline.plots.save import save_figure
    from marr_pipeline.progress import ProgressLine
    from marr_pipeline.workflows.phase_one import Listener, PhaseOneRequest, requested_dataset

    check_output(output, suffixes=FIGURE_SUFFIXES)
    asked = PhaseOneRequest(**request)
    dataset = requested_dataset(asked, listener=Listener(note, ProgressLine))
    chosen = augmentation or dataset.defaults.augmentation
    shown = rows_head_to_tail(dataset, rows)
    images = draw_views(dataset, shown, num_views=columns, augmentation=chosen, seed=asked.seed)
    names = {
        "rows": [dataset.class_names[label] for label in dataset.train.labels[shown].tolist()],
        "columns": ["clean", *map(str, range(1, columns + 1))],
    }
    figure = contact_sheet_figure(images, **names)
    written = save_figure(figure, output, contact_sheet_table(images, **names))
    note(f"{chosen}, seed {asked.seed}: wrote {' and '.join(map(str, written))}")


def rows_head_to_tail(dataset: "LongTailedDataset", num_rows: int) -> "npt.NDArray[np.int64]":
    """Rows of the training split, each the first of its class.

    Classes are evenly spaced in the order of their counts; at most `num_rows` and at most K.
    """
    import numpy as np

    by_count = np.argsort(-dataset.class_counts, kind="stable")
    places = np.linspace(0, len(by_count) - 1, min(num_rows, len(by_count))).round().astype(int)
    labels = dataset.train.labels.numpy()
    return np.array([np.flatnonzero(labels == label)[0] for label in by_count[places]])


def draw_views(
    dataset: "LongTailedDataset",
    rows: "npt.NDArray[np.int64]",
    *,
    num_views: int,
    augmentation: str,
    seed: int,
) -> "npt.NDArray[np.uint8]":
    """Clean images and their cached views 1 to `num_views`: (R, 1 + num_views, H, W, C) uint8.

    Raises:
        ConfigError: an augmentation for images of another kind.
        DataError: an image cannot be read; names it.
    """
    import torch

    from marr_pipeline.data import AUGMENTATIONS
    from marr_pipeline.data.views import RandomView, ViewPass

    drawn = [RandomView(purpose="cache", seed=seed, number=1 + view) for view in range(num_views)]
    passes = [
        ViewPass(rows=torch.from_numpy(rows), bounds=(0, len(rows)), view=view)
        for view in (None, *drawn)
    ]
    batches = dataset.train.batches(
        passes, augmentation=AUGMENTATIONS[augmentation], device=torch.device("cpu")
    )
    return torch.stack([images for images, _ in batches], dim=1).permute(0, 1, 3, 4, 2).numpy()
