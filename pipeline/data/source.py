"""Where images come from, before any is chosen, and how a long-tailed dataset is drawn of them.

Images are read only after the rows are known: a subset of a large folder decodes the subset.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.data.images import ImageSplit, LongTailedDataset
from marr_pipeline.data.longtail import hold_out, long_tail_counts, select_rows
from marr_pipeline.data.normalise import NORMALISATIONS, Normalisation, channel_statistics
from marr_pipeline.data.rows import Rows
from marr_pipeline.data.views import Split
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.groups import shot_groups
from marr_pipeline.progress import Progress
from marr_pipeline.protocols import Figures, PhaseOneDefaults, protocol_of


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """Where images are and how to decode them.

    Attributes:
        data_root: folder of the images; `digits-lt` needs none.
        data_seed: draws the test digits; no other source draws anything.
        image_size: side in pixels; None takes the network's, or else the dataset's own.
        network_size: side that the network was made for; None if any will do. Datasets of one
            size do not look at it.
        lists: the list file of each split, for the datasets that have them.
        path_prefixes: pairs (old, new) of beginnings of listed paths.
        workers: threads that decode small images, processes that decode large ones; None takes
            one a core, at most 4 threads or 16 processes.
        progress: told how far decoding is.
    """

    data_root: Path | None
    data_seed: int
    image_size: int | None
    lists: Mapping[str, Path]
    path_prefixes: tuple[tuple[str, str], ...]
    workers: int | None
    progress: Progress
    network_size: int | None = None

    def side(self, own: int) -> int:
        """The image size for a dataset whose own is `own`."""
        return self.image_size or self.network_size or own


@dataclass(frozen=True, kw_only=True)
class SplitSource(ABC):
    """One split as its source has it.

    Attributes:
        labels: (M,) int64, of every row of the source.
        candidates: ascending rows (m,) that belong to this split; None means all.
    """

    labels: npt.NDArray[np.int64]
    candidates: Rows | None = None

    @property
    def rows(self) -> Rows:
        """The split's own rows (m,), ascending."""
        return np.arange(len(self.labels)) if self.candidates is None else self.candidates

    @abstractmethod
    def load(self, rows: Rows) -> Split:
        """The images of `rows` (N,), in that order."""


@dataclass(frozen=True, kw_only=True)
class ArraySource(SplitSource):
    """A split that its source hands over decoded.

    Attributes:
        read: rows (N,) to images (N, C, H, W) uint8, in that order.
    """

    read: Callable[[Rows], Tensor]

    def load(self, rows: Rows) -> Split:
        """The images of `rows` (N,), in memory."""
        labels = torch.from_numpy(self.labels[rows])
        return ImageSplit(self.read(rows), labels, torch.from_numpy(rows))


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """All splits of a dataset, undecoded.

    Attributes:
        name: as the user typed it; everything else that is known of it is its protocol.
        class_names: K names in label order.
        splits: by name.
        skipped: per split, the ids of its unreadable images, which are no candidates.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, SplitSource]
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def draw_dataset(
    source: DatasetSource,
    *,
    imbalance_ratio: float | None,
    data_seed: int,
    tune_fraction: float,
    stored_rows: Mapping[str, Rows] | None = None,
    normalisation: Normalisation | None = None,
) -> LongTailedDataset:
    """Choose the rows of every split and decode them.

    Args:
        source: where the images are.
        imbalance_ratio: of the training images; None takes the dataset's default.
        data_seed: seed of the subset and of the hold-out.
        tune_fraction: part of every training class to hold out as `tune`.
        stored_rows: rows of every split drawn before (`LongTailedDataset.source_rows`); they
            are taken instead of drawing, so that a model meets the images it was trained on.
        normalisation: in place of the dataset's own.

    Raises:
        ConfigError: a tune split is asked for where the source has its own, or a normalisation of
            other channels than the images have.
        DataError: the images do not allow the ratio, or `stored_rows` are of another source.
    """
    protocol = protocol_of(source.name)
    ratio = protocol.imbalance_ratio if imbalance_ratio is None else imbalance_ratio
    if tune_fraction and "tune" in source.splits:
        raise ConfigError(
            f"{source.name}: a tune fraction of 0 expected where the data has its own tune split, "
            f"got {tune_fraction}; leave --tune-fraction out or remove the tune folder"
        )
    if stored_rows is None:
        rows = _draw_rows(source, ratio, data_seed, tune_fraction)
    else:
        rows = _check_stored(source, stored_rows)
    splits = {
        name: source.splits.get(name, source.splits["train"]).load(own)
        for name, own in rows.items()
    }
    train = splits["train"]
    defaults = protocol.small if isinstance(train, ImageSplit) else protocol.large
    counts = np.bincount(train.labels.numpy(), minlength=len(source.class_names))
    sizes = {name: len(split) for name, split in splits.items()}
    return LongTailedDataset(
        name=source.name,
        class_names=source.class_names,
        class_counts=counts.astype(np.int64),
        train=train,
        tune=splits.get("tune"),
        test=splits.get("test"),
        normalisation=(
            normalisation.of_channels(train.image_shape[0])
            if normalisation
            else _own_normalisation(defaults, train)
        ),
        own_normalisation=normalisation is None,
        defaults=defaults,
        imbalance_ratio=ratio,
        tune_fraction=tune_fraction,
        data_seed=data_seed,
        skipped=source.skipped,
        warnings=_warnings(source, ratio, tune_fraction, counts, sizes),
    )


def _own_normalisation(defaults: PhaseOneDefaults, train: Split) -> Normalisation:
    if defaults.normalisation is not None:
        return NORMALISATIONS[defaults.normalisation]
    assert isinstance(train, ImageSplit), "the normalisation of large images is stated"
    return channel_statistics(train.images)


def _warnings(
    source: DatasetSource,
    ratio: float | None,
    tune_fraction: float,
    class_counts: npt.NDArray[np.int64],
    split_sizes: Mapping[str, int],
) -> tuple[str, ...]:
    figures = protocol_of(source.name).figures.get(ratio)
    if figures is None or tune_fraction:
        return ()
    different = differences_from_published(
        figures, class_counts=class_counts, split_sizes=split_sizes
    )
    if not different:
        return ()
    return (
        f"{source.name}: not the published data: {'; '.join(different)}; results cannot be set "
        "beside published ones",
    )


def differences_from_published(
    figures: Figures,
    *,
    class_counts: npt.NDArray[np.int64],
    split_sizes: Mapping[str, int],
) -> list[str]:
    """One phrase for each figure that differs, such as `train 115,845 images, published 115,846`.

    Args:
        figures: the published ones.
        class_counts: (K,) training images per class.
        split_sizes: images of every split that is there.
    """
    groups = tuple(int(members.sum()) for members in shot_groups(class_counts).values())
    compared: list[tuple[str, object, object]] = [
        ("classes", len(class_counts), figures.num_classes),
        ("largest class", int(class_counts.max()), figures.largest),
        ("smallest class", int(class_counts.min()), figures.smallest),
        ("many/medium/few classes", groups, figures.groups),
    ]
    for split in (*figures.images, *(split_sizes.keys() - figures.images.keys())):
        if split in split_sizes:
            compared.append((f"{split} images", split_sizes[split], figures.images.get(split)))
    return [
        f"{name} {_text(actual)}, published {_text(published)}"
        for name, actual, published in compared
        if actual != published
    ]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "/".join(map(str, value))
    return "none" if value is None else f"{value:,}"


def _draw_rows(
    source: DatasetSource, ratio: float | None, data_seed: int, tune_fraction: float
) -> dict[str, Rows]:
    rows = {name: split.rows for name, split in source.splits.items()}
    labels = source.splits["train"].labels
    if ratio is not None:
        available = np.bincount(labels[rows["train"]], minlength=len(source.class_names))
        counts = long_tail_counts(available, ratio, class_names=source.class_names)
        rows["train"] = rows["train"][select_rows(labels[rows["train"]], counts, data_seed)]
    if tune_fraction:
        held = hold_out(labels[rows["train"]], tune_fraction, data_seed)
        rows["tune"] = rows["train"][held]
        rows["train"] = np.delete(rows["train"], held)
    return rows


def _check_stored(source: DatasetSource, stored: Mapping[str, Rows]) -> dict[str, Rows]:
    for name, rows in stored.items():
        size = len(source.splits.get(name, source.splits["train"]).labels)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < size:
            raise DataError(
                f"{source.name}, split {name}: the checkpoint's rows must lie in 0..{size - 1}, "
                f"got {rows.min()}..{rows.max()}; point --data-root at the data it was trained on"
            )
    return {name: np.asarray(rows, dtype=np.int64) for name, rows in stored.items()}
