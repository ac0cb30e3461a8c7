"""The images and the network that a request of phase one comes to.

A `Network` is what extraction needs, whether it was
trained here, or comes from a checkpoint of ours or of another program.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from marr_pipeline.backbone import network_input
from marr_pipeline.backbone.checkpoints.checkpoint import TrainingRecord
from marr_pipeline.backbone.extract import DEFAULT_BATCH_SIZE, BatchNorm
from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.networks.libraries import NetworkInput
from marr_pipeline.backbone.training.method import LossMethod, TrainingMethod
from marr_pipeline.data import load_dataset
from marr_pipeline.data.class_order import named, read_class_order
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.data.listed import parse_prefixes
from marr_pipeline.data.normalise import Normalisation, parse_normalisation
from marr_pipeline.data.picture import Decoding
from marr_pipeline.device import num_threads
from marr_pipeline.names import OF_DATASET, SPLITS, TRAINING_METHODS
from marr_pipeline.workflows.request import NOBODY, Listener, PhaseOneRequest

Store = Literal["both", "logits", "features"]
Dtype = Literal["float32", "float16"]
"""Of a cache's rows."""

ONE_THREAD_UP_TO = 16
"""Side in pixels."""
ONE_OF_TWO_UP_TO = 32
"""The same, where there are but two threads."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """What extraction needs: a network, its images, and where its weights came from.

    Attributes:
        model: the network.
        dataset: its images.
        config: JSON values, the record of the training or of a foreign checkpoint.
        prior_counts: (K,) images of each class that it was trained on; None if unknown.
        augmentation: a name in `AUGMENTATIONS`, of the cached views.
        seed: of that.
        device: where it runs.
        batch_norm: whose statistics normalise the images of `train`; others are always taken by
            those of training.
        batch_size: images that extraction runs at once.
        warnings: what the user should look at.
        has_head: whether the head is the data's; if not, it is drawn and means nothing.
    """

    model: Backbone
    dataset: LongTailedDataset
    config: dict[str, Any]
    prior_counts: npt.NDArray[np.int64] | npt.NDArray[np.float64] | None
    augmentation: str
    seed: int
    device: torch.device
    batch_norm: BatchNorm = "eval"
    batch_size: int = DEFAULT_BATCH_SIZE
    warnings: tuple[str, ...] = ()
    has_head: bool = True

    def batch_norm_of(self, split: str) -> BatchNorm:
        """Whose statistics normalise a split: the released code scores in eval mode."""
        return self.batch_norm if split == "train" else "eval"

    def for_extraction(self, batch_norm: BatchNorm, batch_size: int) -> "Network":
        """With batches of that size; where each has statistics of its own, of images at random.

        A folder's images come class by class, and a batch of one class has the statistics of that.
        """
        found = replace(self, batch_norm=batch_norm, batch_size=batch_size)
        if batch_norm == "eval":
            return found
        images = self.dataset.train
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))
        return replace(found, dataset=replace(self.dataset, train=images.ordered(order)))


def method_prior(
    method: TrainingMethod, dataset: LongTailedDataset
) -> tuple[npt.NDArray[np.float64] | npt.NDArray[np.int64] | None, tuple[str, ...]]:
    """Counts that a trained network's logits stand for, and what to say where there are none."""
    if method == LossMethod():
        return dataset.class_counts, ()
    prior = method.prior_counts(dataset.class_counts)
    if prior is not None:
        return prior, ()
    said = (
        "is a heuristic: its logits stand for no known prior"
        if method.name in TRAINING_METHODS
        else "says no prior that its logits stand for (LossTerms can)"
    )
    return None, (
        f"{method.name} {said}, and what corrects them by one, such as logit adjustment, takes "
        "the training counts",
    )


def requested_dataset(
    request: PhaseOneRequest,
    *,
    trained_on: TrainingRecord | None = None,
    is_dry: bool = False,
    trained_size: int | None = None,
    as_published: bool = False,
    listener: Listener = NOBODY,
) -> LongTailedDataset:
    """The images that a request speaks of.

    Args:
        request: its fields about data, and the backbone, which may ask for images of its own.
        trained_on: what a checkpoint keeps; its rows and its normalisation are taken and nothing
            is drawn.
        is_dry: decode no image; see `load_dataset`.
        trained_size: side that a foreign checkpoint was trained at, if it is known; taken before
            the one that its network was made for.
        as_published: bring the images to what the weights that a library publishes for the
            backbone ask for, those of a fixed size too.
        listener: told how far decoding is.

    Raises:
        ConfigError: a setting is out of range.
        DataError: the images are missing, broken or too few.
    """
    config: dict[str, Any] = {} if trained_on is None else trained_on.config
    stored = config.get("dataset", {})
    known = None if request.backbone is None else network_input(request.backbone)
    lists = zip(SPLITS, (request.list_train, request.list_tune, request.list_test), strict=True)
    size = trained_size or (None if known is None else known.framing.size)
    framing = None
    if as_published and known is not None:
        framing = known.framing.at(request.image_size or size or known.framing.size)
    class_order = None
    if request.class_order is not None:
        class_order = read_class_order(request.class_order)
    elif stored.get("class_order"):
        class_order = tuple(stored["class_names"])
    dataset = load_dataset(
        request.dataset,
        data_root=request.data_root,
        imbalance_ratio=request.imbalance_ratio,
        data_seed=request.data_seed,
        tune_fraction=request.tune_fraction,
        image_size=request.image_size,
        lists={split: path for split, path in lists if path is not None},
        path_prefixes=parse_prefixes(request.path_prefixes),
        skip_unreadable=request.on_bad_image == "skip",
        workers=request.workers,
        stored_rows=None if trained_on is None else trained_on.rows,
        stored_skipped=stored.get("skipped"),
        network_size=size,
        framing=framing,
        normalisation=(
            _asked_normalisation(request.normalisation, known, as_published=as_published)
            if trained_on is None
            else stored_normalisation(stored)
        ),
        val_is=request.val_is,
        class_order=class_order,
        decoding=Decoding(exif=request.exif, pixel_range=request.pixel_range),
        decodes=not is_dry,
        download=request.download and not is_dry,
        progress=listener.progress("reading images"),
    )
    if is_dry and trained_on is not None:
        # What the images' own statistics are is told by the checkpoint alone.
        return replace(
            dataset,
            normalisation=Normalisation.from_record(stored["normalisation"]),
            own_normalisation=stored_normalisation(stored) is None,
        )
    return dataset


def _asked_normalisation(
    said: str | None, known: NetworkInput | None, *, as_published: bool
) -> Normalisation | None:
    """What the user says, or else what the network is known to take; None leaves the dataset's."""
    if said is None:
        if known is None or (known.is_usual and not as_published):
            return None
        return known.normalisation
    return None if said == OF_DATASET else parse_normalisation(said)


def stored_normalisation(dataset: Mapping[str, Any]) -> Normalisation | None:
    """What the record of a dataset says that was asked for; None if it was the dataset's own."""
    if dataset.get("own_normalisation", True):
        return None
    return Normalisation.from_record(dataset["normalisation"])


def describe_pictures(dataset: LongTailedDataset) -> list[str]:
    """Lines on images that were left out as unreadable, and on those that Pillow remarked on."""
    lines = [
        f"{dataset.name}, split {split}: left out as unreadable: {named(ids)}"
        for split, ids in dataset.skipped.items()
    ]
    for split in dataset.splits:
        lines += [
            f"warning: {dataset.name}, split {split}: read, but of {len(ids):,} "
            f"{'image' if len(ids) == 1 else 'images'} Pillow says '{kind}': {named(ids)}"
            for kind, ids in dataset.remarks(split).items()
        ]
    return lines


def rows_of_cache(dataset: LongTailedDataset, *, views: int) -> int:
    """Rows of all views of all splits, `views` augmented ones of the training images."""
    return sum(len(split) for split in dataset.splits.values()) + views * len(dataset.train)


def threads_for(dataset: LongTailedDataset) -> AbstractContextManager[None]:
    """Within the block, one thread for images so small that a second one costs more than it brings.

    Every operation ends in a barrier, at which threads sleep. Networks on digits gain 15 % by a
    second thread on a quiet machine and lose a factor of 10 where other work runs. ResNet-32 at
    32 x 32 gains nothing (two cores, img/s by one and two threads: 333 and 320 on a quiet machine,
    291 and 141 with one core busy, 249 and 44 with both).
    """
    side = dataset.train.image_shape[-1]
    is_small = side <= ONE_THREAD_UP_TO or (
        side <= ONE_OF_TWO_UP_TO and torch.get_num_threads() <= 2
    )
    return num_threads(1) if is_small else nullcontext()
