"""What a dataset is to phase one: images, their labels, and where each came from.

N images of C channels and H x W pixels, K classes. Small images are in memory (`ImageSplit`), large
ones in their files (`stream.StreamedSplit`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.data.augment import Augmentation, augment_batch
from marr_pipeline.data.normalise import Normalisation
from marr_pipeline.data.views import Batch, Split, ViewPass
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.names import SPLITS
from marr_pipeline.protocols import PhaseOneDefaults


@dataclass(frozen=True)
class ImageSplit:
    """One split, decoded and in memory; views are drawn on the device.

    Attributes:
        images: (N, C, H, W) uint8, contiguous.
        labels: (N,) int64.
        source_indices: (N,) int64, the row of each image in its source's own order.
        ids: N file paths relative to the data root, or None where the source has no files.
    """

    images: Tensor
    labels: Tensor
    source_indices: Tensor
    ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(
                "images: (N, C, H, W) uint8 expected, got "
                f"{tuple(self.images.shape)} {self.images.dtype}; decode to 8-bit pixels first"
            )
        if not self.images.is_contiguous():
            raise DataError("images: contiguous memory expected, got a view; call .contiguous()")
        for name, values in (("labels", self.labels), ("source_indices", self.source_indices)):
            if values.dtype != torch.int64 or values.shape != (len(self.images),):
                raise DataError(
                    f"{name}: ({len(self.images)},) int64 expected, got "
                    f"{tuple(values.shape)} {values.dtype}; give one integer an image"
                )
        if self.ids is not None and len(self.ids) != len(self.images):
            raise DataError(
                f"ids: {len(self.images)} expected, got {len(self.ids)}; give one path an image"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def batches(
        self, passes: Iterable[ViewPass], *, augmentation: Augmentation, device: torch.device
    ) -> Iterator[Batch]:
        """See `views.Split`; all images are moved to the device first, as bytes."""
        if augmentation.needs_files:
            raise ConfigError(
                f"augmentation: one for images in memory expected at {self.image_shape[-1]} "
                f"pixels, got {augmentation}; choose another or a larger --image-size"
            )
        return self._batches(passes, augmentation, device)

    def _batches(
        self, passes: Iterable[ViewPass], augmentation: Augmentation, device: torch.device
    ) -> Iterator[Batch]:
        images, labels = self.images.to(device), self.labels.to(device)
        for each in passes:
            rows, draws = each.rows.to(device), None
            if each.view is not None:
                draws = each.view.draw(self.source_indices[each.rows]).to(device)
            for start, stop in pairwise(each.bounds):
                batch = images[rows[start:stop]]
                if draws is not None:
                    batch = augment_batch(batch, draws[start:stop], augmentation)
                yield batch, labels[rows[start:stop]]

    def content(self) -> npt.NDArray[np.uint8]:
        """The pixels (N, C, H, W)."""
        pixels: npt.NDArray[np.uint8] = self.images.numpy()
        return pixels


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
    train: Split
    tune: Split | None
    test: Split | None
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
    def splits(self) -> dict[str, Split]:
        """The splits that exist, by name, in the order train, tune, test."""
        present = zip(SPLITS, (self.train, self.tune, self.test), strict=True)
        return {name: split for name, split in present if split is not None}

    def source_rows(self) -> dict[str, npt.NDArray[np.int64]]:
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
