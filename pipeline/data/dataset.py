"""A long-tailed dataset: its splits, drawn from a source, and what is known of them.

N images of C channels and H x W pixels, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from marr_pipeline.data.longtail import RowNumbers, hold_out, long_tail_counts, select_rows
from marr_pipeline.data.normalise import NORMALISATIONS, Normalisation, channel_statistics
from marr_pipeline.data.resident import ResidentSplit
from marr_pipeline.data.source import DatasetSource
from marr_pipeline.data.views import ImageSplit
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.groups import shot_groups
from marr_pipeline.names import SPLITS
from marr_pipeline.protocols import Figures, PhaseOneDefaults, protocol_of


@dataclass(frozen=True, kw_only=True)
class LongTailedDataset:
    """A training split with its class counts, and the splits to score on.

    Attributes:
        name: as the user typed it.
        class_names: K names in label order.
        class_counts: (K,) int64, images of `train` per class.
        train: what phase one learns from.
        tune: for choosing settings; None where the dataset has none.
        test: for scoring only; None where the dataset has none.
        normalisation: per-channel mean and standard deviation that pixels are brought to 0 and 1
            by.
        own_normalisation: whether that is the dataset's own, and not one that was asked for.
        defaults: what phase one uses unless told otherwise.
        imbalance_ratio: the ratio asked for; None if the training images were taken as they are.
        tune_fraction: the part of every training class that was held out as `tune`.
        data_seed: seed of every draw that chose images.
        skipped: per split, the ids of the images that could not be read and were left out.
        warnings: what a user should know of the files, such as counts that are not the published.
    """

    name: str
    class_names: tuple[str, ...]
    class_counts: npt.NDArray[np.int64]
    train: ImageSplit
    tune: ImageSplit | None
    test: ImageSplit | None
    normalisation: Normalisation
    defaults: PhaseOneDefaults
    imbalance_ratio: float | None
    tune_fraction: float
    data_seed: int
    own_normalisation: bool = True
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        num_classes = len(self.class_names)
        for split, images in self.splits.items():
            check_labels(images.labels, num_classes, where=f"{self.name}, split {split}")
            if images.image_shape != self.train.image_shape:
                raise DataError(
                    f"{self.name}, split {split}: images of {self.train.image_shape} "
                    f"expected as in train, got {images.image_shape}; "
                    "decode every split to one size"
                )
        actual = np.bincount(self.train.labels.numpy(), minlength=num_classes)
        if not np.array_equal(actual, self.class_counts):
            raise DataError(
                f"{self.name}: class_counts {self.class_counts.tolist()} expected from the "
                f"training labels, got {actual.tolist()}; count the labels of the train split"
            )
        for label in np.flatnonzero(actual == 0):
            raise DataError(
                f"{self.name}: at least one training image a class expected, got an empty class "
                f"'{self.class_names[label]}'; add images or remove the class"
            )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def splits(self) -> dict[str, ImageSplit]:
        """The splits that exist, by name, in the order train, tune, test."""
        present = zip(SPLITS, (self.train, self.tune, self.test), strict=True)
        return {name: split for name, split in present if split is not None}

    def source_rows(self) -> dict[str, RowNumbers]:
        """Rows (N,) int64 that each split took from its source: enough to draw it again."""
        return {name: split.source_indices.numpy() for name, split in self.splits.items()}

    def record(self) -> dict[str, object]:
        """What this dataset was made from, as JSON values; the rows are kept beside it."""
        channels, height, width = self.train.image_shape
        record: dict[str, object] = {
            "name": self.name,
            "data_seed": self.data_seed,
            "imbalance_ratio": self.imbalance_ratio,
            "tune_fraction": self.tune_fraction,
            "channels": channels,
            "image_size": [height, width],
            "class_names": list(self.class_names),
            "class_counts": self.class_counts.tolist(),
            "normalisation": self.normalisation.record(),
        }
        if not self.own_normalisation:
            record["own_normalisation"] = False
        if self.skipped:
            record["skipped"] = {split: list(ids) for split, ids in self.skipped.items()}
        return record


def check_labels(labels: Tensor, num_classes: int, *, where: str) -> None:
    """Raise a DataError unless labels (N,), N > 0, lie in 0..num_classes-1."""
    if len(labels) == 0:
        raise DataError(f"{where}: at least one image expected, got none; add images")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"{where}: labels must lie in 0..{num_classes - 1}, got {low}..{high}; "
            "are these the labels of another class list?"
        )


def draw_dataset(
    source: DatasetSource,
    *,
    imbalance_ratio: float | None,
    data_seed: int,
    tune_fraction: float,
    stored_rows: Mapping[str, RowNumbers] | None,
    normalisation: Normalisation | None,
) -> LongTailedDataset:
    """Choose the rows of every split and decode them.

    The arguments are those of `load_dataset`. `stored_rows`, which `source_rows` gave, are taken
    instead of drawing, so that a model meets the images it was trained on.

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
    defaults = protocol.large if train.is_streamed else protocol.small
    counts = np.bincount(train.labels.numpy(), minlength=len(source.class_names))
    figures, different = protocol.figures.get(ratio), []
    if figures is not None and not tune_fraction:
        sizes = {name: len(split) for name, split in splits.items()}
        different = differences_from_published(figures, class_counts=counts, split_sizes=sizes)
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
        warnings=(
            f"{source.name}: not the published data: {'; '.join(different)}; results cannot be set "
            "beside published ones",
        )
        if different
        else (),
    )


def _own_normalisation(defaults: PhaseOneDefaults, train: ImageSplit) -> Normalisation:
    if defaults.normalisation is not None:
        return NORMALISATIONS[defaults.normalisation]
    assert isinstance(train, ResidentSplit), "the normalisation of large images is stated"
    return channel_statistics(train.images)


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
) -> dict[str, RowNumbers]:
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


def _check_stored(source: DatasetSource, stored: Mapping[str, RowNumbers]) -> dict[str, RowNumbers]:
    for name, rows in stored.items():
        size = len(source.splits.get(name, source.splits["train"]).labels)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < size:
            raise DataError(
                f"{source.name}, split {name}: the checkpoint's rows must lie in 0..{size - 1}, "
                f"got {rows.min()}..{rows.max()}; point --data-root at the data it was trained on"
            )
    return {name: np.asarray(rows, dtype=np.int64) for name, rows in stored.items()}
