"""A long-tailed dataset: its splits, drawn from a source, and what is known of them.

N images of C channels and H x W pixels, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from marr_pipeline.data.longtail import RowNumbers
from marr_pipeline.data.normalise import UNMEASURED, Normalisation
from marr_pipeline.data.views import ImageSplit
from marr_pipeline.errors import DataError
from marr_pipeline.groups import shot_groups
from marr_pipeline.names import SPLITS
from marr_pipeline.protocols import Figures, PhaseOneDefaults, protocol_of


@dataclass(frozen=True, kw_only=True)
class LongTailedDataset:
    """A training split with its class counts, and the splits to score on.

    Attributes:
        name: as the user typed it.
        class_names: K names in label order.
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
        notes: what a user should know of how classes and files were read.
        source_warnings: what a user should look at in the files.
        reading: what was asked of the reading of files beyond the defaults, as JSON values.
    """

    name: str
    class_names: tuple[str, ...]
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
    notes: tuple[str, ...] = ()
    source_warnings: tuple[str, ...] = ()
    reading: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for split, images in self.splits.items():
            if len(images) == 0:
                raise DataError(
                    f"{self.name}, split {split}: at least one image expected, got none; add images"
                )
        for label in np.flatnonzero(self.class_counts == 0):
            raise DataError(
                f"{self.name}: at least one training image a class expected, got an empty class "
                f"'{self.class_names[label]}'; add images or remove the class"
            )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @cached_property
    def class_counts(self) -> npt.NDArray[np.int64]:
        """(K,) int64, images of `train` per class."""
        return np.bincount(self.train.labels.numpy(), minlength=self.num_classes)

    @property
    def splits(self) -> dict[str, ImageSplit]:
        """The splits that exist, by name, in the order train, tune, test."""
        present = zip(SPLITS, (self.train, self.tune, self.test), strict=True)
        return {name: split for name, split in present if split is not None}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should look at in the images, such as that they are not the published."""
        figures = protocol_of(self.name).figures.get(self.imbalance_ratio)
        if figures is None or self.tune_fraction:
            return self.source_warnings
        sizes = {name: len(split) for name, split in self.splits.items()}
        different = differences_from_published(
            figures, class_counts=self.class_counts, split_sizes=sizes
        )
        if not different:
            return self.source_warnings
        return (
            *self.source_warnings,
            f"{self.name}: not the published data: {'; '.join(different)}; results cannot be set "
            "beside published ones",
        )

    @property
    def normalised_by(self) -> str:
        """MEAN/STD, or where it would come from if the images were decoded."""
        is_unmeasured = self.normalisation is UNMEASURED
        return "the images' own statistics" if is_unmeasured else self.normalisation.text

    @property
    def shown_as(self) -> str:
        """Size, framing where weights ask for one, and normalisation of the images, in words."""
        framing = self.train.framing
        framed = "" if framing is None else f" ({framing.text})"
        return (
            f"{self.name} at {self.train.image_shape[-1]} pixels{framed}, "
            f"normalised by {self.normalised_by}"
        )

    def remarks(self, split: str) -> dict[str, list[str]]:
        """Ids of the images in which Pillow found something, by what it was."""
        images = self.splits[split]
        if not images.remarks.rows or images.ids is None:
            return {}
        ids = dict(zip(images.source_indices.tolist(), images.ids, strict=True))
        return {
            kind: [ids[row] for row in sorted(rows)] for kind, rows in images.remarks.rows.items()
        }

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
            **self.reading,
        }
        if not self.own_normalisation:
            record["own_normalisation"] = False
        if self.skipped:
            record["skipped"] = {split: list(ids) for split, ids in self.skipped.items()}
        return record


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
