"""Datasets by name: where their images are, and the long-tailed splits drawn from them.

A source (`source`) says where images are; `longtail` chooses among them; a split (`views`) gives
them in batches, in memory (`resident`) or out of files (`streamed`), clean or augmented, and
`normalise` makes them a network's input.

A new dataset is one file with a function from `SourceRequest` to `DatasetSource`, put into
`DATASETS` under its name, its protocol (`protocols.PROTOCOLS`) and its name (`names.DATASETS`). One
that comes as list files is its protocol, with `list_names`, and its name alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.data.folder import NO_SPLIT, folder_source
from marr_pipeline.data.framing import Framing
from marr_pipeline.data.listed import LISTED, OFFICIAL, listed_source
from marr_pipeline.data.longtail import RowNumbers
from marr_pipeline.data.normalise import (
    NORMALISATIONS,
    UNMEASURED,
    Normalisation,
    channel_statistics,
)
from marr_pipeline.data.packaged import CIFAR_ORIGINALS, cifar_source, digits_source
from marr_pipeline.data.picture import AS_STORED, Decoding
from marr_pipeline.data.resident import ResidentSplit
from marr_pipeline.data.source import DatasetSource, SourceRequest, without_unreadable
from marr_pipeline.data.views import Augmentation
from marr_pipeline.errors import ConfigError
from marr_pipeline.progress import Progress, silent
from marr_pipeline.protocols import PROTOCOLS

SourceFinder = Callable[[SourceRequest], DatasetSource]
"""Finds the images of a dataset and decodes none; a ConfigError or DataError if it cannot."""

DATASETS: dict[str, SourceFinder] = {
    "digits-lt": digits_source,
    "cifar10-lt": partial(cifar_source, "cifar10-lt"),
    "cifar100-lt": partial(cifar_source, "cifar100-lt"),
    **{name: partial(listed_source, name) for name in OFFICIAL},
    "folder": folder_source,
    "list": partial(listed_source, "list"),
}

OF_FOLDERS = ("folder", "cifar10-lt", "cifar100-lt")
OF_FILES = (*OF_FOLDERS, *LISTED)
TAKES = {
    "val_is": OF_FOLDERS,
    "class_order": (*OF_FOLDERS, "list"),
    "exif": OF_FILES,
    "pixel_range": OF_FILES,
}
"""Options of reading, and the datasets that they are for."""

_POLICY = Augmentation(crop=True, flip=True, autoaugment="torchvision", cutout=True)

AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "crop": Augmentation(crop=True),
    "crop-flip": Augmentation(crop=True, flip=True),
    "autoaugment-cutout": _POLICY,
    "autoaugment-cutout-official": replace(_POLICY, autoaugment="released"),
    "resized-crop-flip": Augmentation(resized_crop=True, flip=True),
    "resized-crop-jitter": Augmentation(resized_crop=True, flip=True, jitter=True),
}


def load_dataset(
    name: str,
    *,
    data_root: Path | None = None,
    imbalance_ratio: float | None = None,
    data_seed: int = 0,
    tune_fraction: float = 0.0,
    image_size: int | None = None,
    lists: Mapping[str, Path] | None = None,
    path_prefixes: tuple[tuple[str, str], ...] = (),
    skip_unreadable: bool = False,
    workers: int | None = None,
    stored_rows: Mapping[str, RowNumbers] | None = None,
    stored_skipped: Mapping[str, Sequence[str]] | None = None,
    network_size: int | None = None,
    framing: Framing | None = None,
    normalisation: Normalisation | None = None,
    val_is: str | None = None,
    class_order: tuple[str, ...] | None = None,
    decoding: Decoding = AS_STORED,
    decodes: bool = True,
    download: bool = False,
    progress: Progress = silent,
) -> LongTailedDataset:
    """A dataset's splits, its training images cut to a long tail; small images are decoded.

    Args:
        name: a key of `DATASETS`.
        data_root: folder of the images; `digits-lt` needs none.
        imbalance_ratio: None takes the dataset's default, which is none for images in files
            other than CIFAR's.
        data_seed: at least 0; draws the subset, the hold-out and the test digits.
        tune_fraction: part of every training class to hold out as `tune`.
        image_size: side in pixels; None takes the dataset's.
        lists: the list file of each split, for the datasets that have them.
        path_prefixes: pairs (old, new) of beginnings of listed paths.
        skip_unreadable: leave missing and broken files out and name them in `skipped`, at the
            price of decoding every image once more; false makes the first one an error.
        workers: threads that decode small images, processes that decode large ones; None takes
            one a core, at most 4 threads or 16 processes.
        stored_rows: rows of a checkpoint, taken instead of drawing.
        stored_skipped: with `stored_rows`, the images that were left out then.
        network_size: side that the network was made for, taken before that of a dataset of files.
        framing: what published weights ask for, in place of `image_size` and `network_size`; the
            images of every dataset are brought to its size.
        normalisation: of the pixels; None takes the dataset's.
        val_is: `tune` or `test`, what a folder `val/` is for; None asks for it without a test
            folder.
        class_order: K names, label 0 first; None sorts the names of folders, or of labels.
        decoding: how pictures in files become pixels.
        decodes: false leaves all images in their files: those of small ones have shapes alone,
            none is looked for that cannot be read, and their own statistics are `UNMEASURED`.
        download: fetch a dataset of `CIFAR_ORIGINALS` that is not there.
        progress: told how far decoding is.

    Raises:
        ConfigError: an unknown name or a setting out of range.
        DataError: the images are missing, broken, or too few for the ratio.
    """
    if name not in DATASETS:
        raise ConfigError(f"dataset: one of {', '.join(DATASETS)} expected, got {name}; choose one")
    if data_seed < 0:
        raise ConfigError(f"data seed: at least 0 expected, got {data_seed}; choose another")
    if (lists or path_prefixes) and name not in LISTED:
        raise ConfigError(
            f"--list-train, --list-tune, --list-test, --path-prefix: none expected for {name}, "
            f"got some; they are for {', '.join(LISTED)}"
        )
    if download and name not in CIFAR_ORIGINALS:
        raise ConfigError(
            f"--download: none expected for {name}, got one; it is for {', '.join(CIFAR_ORIGINALS)}"
        )
    reading: dict[str, object] = {
        "val_is": None if val_is == NO_SPLIT else val_is,
        "class_order": class_order is not None,
        "exif": decoding.exif,
        "pixel_range": decoding.pixel_range,
    }
    reading = {option: value for option, value in reading.items() if value}
    for option in reading:
        if name not in TAKES[option]:
            raise ConfigError(
                f"--{option.replace('_', '-')}: none expected for {name}, got one; it is for "
                f"{', '.join(TAKES[option])}"
            )
    request = SourceRequest(
        data_root=data_root,
        data_seed=data_seed,
        image_size=None if framing else image_size,
        lists=lists or {},
        path_prefixes=path_prefixes,
        workers=workers,
        progress=progress,
        network_size=framing.size if framing else network_size,
        interpolation=framing.interpolation if framing else "bilinear",
        val_is=val_is,
        class_order=class_order,
        decoding=decoding,
        decodes=decodes,
        download=download,
    )
    source = DATASETS[name](request)
    if stored_rows is not None:
        skipped = {split: tuple(ids) for split, ids in (stored_skipped or {}).items()}
        source = replace(source, skipped=skipped)
    elif skip_unreadable and decodes:
        source = without_unreadable(source)
    protocol = PROTOCOLS[name]
    ratio = protocol.imbalance_ratio if imbalance_ratio is None else imbalance_ratio
    if tune_fraction and "tune" in source.splits:
        raise ConfigError(
            f"{name}: a tune fraction of 0 expected where the data has its own tune split, "
            f"got {tune_fraction}; leave --tune-fraction out or remove the tune folder"
        )
    if stored_rows is None:
        rows = source.draw_rows(ratio, tune_fraction=tune_fraction, data_seed=data_seed)
    else:
        rows = dict(stored_rows)
    splits = source.load(rows)
    if framing is not None:
        splits = {name: split.framed(framing) for name, split in splits.items()}
    train = splits["train"]
    defaults = protocol.large if train.is_streamed else protocol.small
    if normalisation is not None:
        used = normalisation.of_channels(train.image_shape[0])
    elif defaults.normalisation is not None:
        used = NORMALISATIONS[defaults.normalisation]
    else:
        assert isinstance(train, ResidentSplit), "the normalisation of large images is stated"
        used = UNMEASURED if train.images.is_meta else channel_statistics(train.images)
    return LongTailedDataset(
        name=name,
        class_names=source.class_names,
        train=train,
        tune=splits.get("tune"),
        test=splits.get("test"),
        normalisation=used,
        own_normalisation=normalisation is None,
        defaults=defaults,
        imbalance_ratio=ratio,
        tune_fraction=tune_fraction,
        data_seed=data_seed,
        skipped=source.skipped,
        notes=source.notes,
        source_warnings=source.warnings,
        reading=reading,
    )
