"""What augmentation makes of a dataset's images, to look at before training."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from marr_pipeline.data import AUGMENTATIONS
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.data.views import RandomView, ViewPass
from marr_pipeline.plots.contact_sheet import draw_contact_sheet
from marr_pipeline.workflows.figures import save_figure
from marr_pipeline.workflows.phase_one import requested_dataset
from marr_pipeline.workflows.request import NOBODY, Listener, PhaseOneRequest


def views(
    request: PhaseOneRequest,
    *,
    rows: int,
    columns: int,
    output: Path,
    overwrite: bool = False,
    augmentation: str | None = None,
    listener: Listener = NOBODY,
) -> list[Path]:
    """Draw training images and their augmented views, as `extract` makes them with this seed.

    Args:
        request: which images, and the seed.
        rows: images, one of each class, from the largest class to the smallest.
        columns: views of each, beside the clean image.
        output: `.png`, `.pdf` or `.svg`; what is shown where goes beside it as `.csv`.
        overwrite: replace whatever files are there, not a figure and its numbers alone.
        augmentation: its name; None for the dataset's own.
        listener: told how far the reading is, and what was written.

    Returns:
        The files written.

    Raises:
        ConfigError: an augmentation for images of another kind.
        DataError: images are missing or cannot be read.
    """
    dataset = requested_dataset(request, listener=listener)
    for line in (*dataset.notes, *(f"warning: {warning}" for warning in dataset.warnings)):
        listener.say(line)
    chosen = augmentation or dataset.defaults.augmentation
    shown = rows_head_to_tail(dataset, rows)
    images = draw_views(dataset, shown, num_views=columns, augmentation=chosen, seed=request.seed)
    names = {
        "rows": [dataset.class_names[label] for label in dataset.train.labels[shown].tolist()],
        "columns": ["clean", *map(str, range(1, columns + 1))],
    }
    written = save_figure(draw_contact_sheet(images, **names), output, overwrite=overwrite)
    listener.say(
        f"{chosen}, seed {request.seed}: wrote {' and '.join(map(str, written))}; an image each "
        f"of {len(shown)} of {dataset.num_classes} classes"
    )
    return written


def rows_head_to_tail(dataset: LongTailedDataset, num_rows: int) -> npt.NDArray[np.int64]:
    """Rows of the training split, each the first of its class.

    Classes are evenly spaced in the order of their counts; at most `num_rows` and at most K.
    """
    by_count = np.argsort(-dataset.class_counts, kind="stable")
    places = np.linspace(0, len(by_count) - 1, min(num_rows, len(by_count))).round().astype(int)
    labels = dataset.train.labels.numpy()
    return np.array([np.flatnonzero(labels == label)[0] for label in by_count[places]])


def draw_views(
    dataset: LongTailedDataset,
    rows: npt.NDArray[np.int64],
    *,
    num_views: int,
    augmentation: str,
    seed: int,
) -> npt.NDArray[np.uint8]:
    """Clean images and their cached views 1 to `num_views`: (R, 1 + num_views, H, W, C) uint8.

    Raises:
        ConfigError: an augmentation for images of another kind.
        DataError: an image cannot be read; names it.
    """
    drawn = [RandomView(purpose="cache", seed=seed, number=1 + view) for view in range(num_views)]
    passes = [
        ViewPass(rows=torch.from_numpy(rows), bounds=(0, len(rows)), view=view)
        for view in (None, *drawn)
    ]
    batches = dataset.train.batches(
        passes, augmentation=AUGMENTATIONS[augmentation], device=torch.device("cpu")
    )
    return torch.stack([images for images, _ in batches], dim=1).permute(0, 1, 3, 4, 2).numpy()
