"""Datasets by name: where their images are, and the long-tailed splits drawn from them."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pipeline.data.augment import Augmentation
from pipeline.data.cifar import cifar_source
from pipeline.data.digits import digits_source
from pipeline.data.folder import folder_source
from pipeline.data.images import LongTailedDataset
from pipeline.data.source import DatasetSource, Rows, SourceRequest, draw_dataset
from pipeline.errors import ConfigError
from pipeline.progress import Progress, silent

Source = Callable[[SourceRequest], DatasetSource]
"""Finds the images of a dataset and decodes none; a ConfigError or DataError if it cannot."""

DATASETS: dict[str, Source] = {
    "digits-lt": digits_source,
    "cifar10-lt": partial(cifar_source, "cifar10-lt"),
    "cifar100-lt": partial(cifar_source, "cifar100-lt"),
    "folder": folder_source,
}

AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "crop": Augmentation(crop=True),
    "crop-flip": Augmentation(crop=True, flip=True),
    "autoaugment-cutout": Augmentation(crop=True, flip=True, autoaugment=True, cutout=True),
}


def load_dataset(
    name: str,
    *,
    data_root: Path | None = None,
    imbalance_ratio: float | None = None,
    data_seed: int = 0,
    tune_fraction: float = 0.0,
    image_size: int = 32,
    workers: int | None = None,
    stored_rows: Mapping[str, Rows] | None = None,
    progress: Progress = silent,
) -> LongTailedDataset:
    """A dataset's splits, decoded, its training images cut to a long tail.

    Args:
        name: a key of `DATASETS`.
        data_root: folder of the images; `digits-lt` needs none.
        imbalance_ratio: None takes the dataset's default, which is none for `folder`.
        data_seed: at least 0; draws the subset, the hold-out and the test digits.
        tune_fraction: part of every training class to hold out as `tune`.
        image_size: side in pixels, for `folder`.
        workers: threads that decode images; None takes one a core, up to four.
        stored_rows: rows of a checkpoint, taken instead of drawing.
        progress: told how far decoding is.

    Raises:
        ConfigError: an unknown name or a setting out of range.
        DataError: the images are missing, broken, or too few for the ratio.
    """
    if name not in DATASETS:
        raise ConfigError(f"dataset: one of {', '.join(DATASETS)} expected, got {name}; choose one")
    if data_seed < 0:
        raise ConfigError(f"data seed: at least 0 expected, got {data_seed}; choose another")
    request = SourceRequest(
        data_root=data_root,
        data_seed=data_seed,
        image_size=image_size,
        workers=min(4, os.cpu_count() or 1) if workers is None else workers,
        progress=progress,
    )
    source = DATASETS[name](request)
    return draw_dataset(
        source,
        imbalance_ratio=imbalance_ratio,
        data_seed=data_seed,
        tune_fraction=tune_fraction,
        stored_rows=stored_rows,
    )
