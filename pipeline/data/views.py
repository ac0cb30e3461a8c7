"""Which images phase one asks for, in which views, and what a split of a dataset answers.

Small images are in memory (`resident.ResidentSplit`), large ones in their files
(`streamed.StreamedSplit`). Both answer alike, and the answer is a function of the request alone:
not of batches, workers or device.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.data.framing import Framing
from marr_pipeline.data.picture import Remarks
from marr_pipeline.errors import ConfigError

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) uint8 and their labels (B,) int64, both on the device asked for."""

DRAWS = "philox4x64-10"
"""How random views are drawn, for the records of whatever they went into. It was philox4x32-10; an
unfinished training or extraction with those is refused by this name."""

_FIRST_EPOCH = 2**31  # streams below it are cached views


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Which steps a view takes; those of images in memory and of large ones do not mix.

    Attributes:
        crop: a window of the image's own size after zero padding by an eighth of it
            (4 pixels at 32 x 32, 1 at 8 x 8).
        flip: left-right, with probability 1/2.
        autoaugment: the CIFAR-10 policy of Cubuk et al. (2019), as torchvision or the code released
            with MARC and Balanced Meta-Softmax has it.
        cutout: one black square of half the image's side (16 at 32 x 32), centred anywhere
            and clipped at the border.
        resized_crop: a random part of a large image, resized; without it the centre.
        jitter: brightness, contrast and saturation of a large image, each by up to 40 %.
    """

    crop: bool = False
    flip: bool = False
    autoaugment: Literal["torchvision", "released"] | None = None
    cutout: bool = False
    resized_crop: bool = False
    jitter: bool = False

    def check(self, image_size: int, *, is_streamed: bool) -> None:
        """Raise a ConfigError if a step is not for images in files, or not for those in memory."""
        if is_streamed and (self.crop or self.cutout or self.autoaugment is not None):
            raise ConfigError(
                f"augmentation: one for large images expected at {image_size} pixels, got "
                f"{self}; choose another or a smaller --image-size"
            )
        if not is_streamed and (self.resized_crop or self.jitter):
            raise ConfigError(
                f"augmentation: one for images in memory expected at {image_size} pixels, got "
                f"{self}; choose another or a larger --image-size"
            )


@dataclass(frozen=True, kw_only=True)
class RandomView:
    """Which random view: image i of it is a function of these three and of i's source index.

    Attributes:
        purpose: views for training and views for a cache are drawn apart.
        seed: 0 to 2^64 - 1.
        number: the epoch, or the index of the cached view, below 2^31.
    """

    purpose: Literal["training", "cache"]
    seed: int
    number: int

    def draw(self, source_indices: Tensor, num_draws: int) -> Tensor:
        """Uniform numbers with 53 random bits for every image.

        NumPy's Philox4x64 with the seed and the view for its key; an image's numbers are those
        at the place of its index, so that every subset of a dataset, every order of its images
        and every division into batches has the same views. All numbers between the first and
        the last index are made: a whole epoch's at once cost less than a batch's one by one.

        Args:
            source_indices: (M,) int64, at least 0, M > 0.
            num_draws: numbers an image.

        Returns:
            (M, num_draws) float64 in [0, 1) on the CPU; row i is a function of this view, of
            num_draws and of source_indices[i] alone.

        Raises:
            ConfigError: the seed does not fit 64 bits.
        """
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"seed: 0 to 2^64 - 1 expected, got {self.seed}; choose another")
        stream = self.number + (_FIRST_EPOCH if self.purpose == "training" else 0)
        indices = source_indices.numpy()
        first, last = int(indices.min()), int(indices.max())
        steps = -(-num_draws // 4)  # of the counter; each gives four words
        generator = np.random.Philox(key=np.array([self.seed, stream], dtype=np.uint64))
        generator.advance(first * steps)
        every = np.random.Generator(generator).random((last - first + 1, 4 * steps))
        return torch.from_numpy(every.take(indices - first, axis=0)[:, :num_draws])


@dataclass(frozen=True, kw_only=True)
class ViewPass:
    """M images of a split, in batches, all in the same view.

    Attributes:
        rows: (M,) int64, rows of the split in the order they are wanted.
        bounds: batch b is rows[bounds[b] : bounds[b + 1]].
        view: None leaves the images clean.
        places: (M,) int64, at which places of the view their numbers are drawn; None draws them at
            the images' source indices, and needs every row but once to give each a view of its own.
    """

    rows: Tensor
    bounds: tuple[int, ...]
    view: RandomView | None
    places: Tensor | None = None

    def draw(self, source_indices: Tensor, num_draws: int) -> Tensor | None:
        """The view's numbers (M, num_draws), on the CPU; None for clean images.

        Args:
            source_indices: (N,) of the split.
            num_draws: numbers an image.
        """
        if self.view is None:
            return None
        places = source_indices[self.rows] if self.places is None else self.places
        return self.view.draw(places, num_draws)


class ImageSplit(ABC):
    """One split of a dataset.

    N images of C channels and H x W pixels.

    Attributes:
        labels: (N,) int64.
        source_indices: (N,) int64, the row of each image in its source's own order.
        remarks: what Pillow warned of in its images until now, by row of the source.
        framing: to a network's size as its weights ask for it; None leaves it to the split.
        is_streamed: whether images stay in their files until they are wanted.
    """

    labels: Tensor
    source_indices: Tensor
    remarks: Remarks
    framing: Framing | None
    is_streamed: ClassVar[bool]

    @property
    @abstractmethod
    def ids(self) -> tuple[str, ...] | None:
        """N file paths relative to the data root; None where the source has no files."""

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""

    @abstractmethod
    def framed(self, framing: Framing) -> "ImageSplit":
        """The same images, brought to another size."""

    @abstractmethod
    def ordered(self, rows: Tensor) -> "ImageSplit":
        """The same images in another order, (N,) int64 of rows."""

    @abstractmethod
    def content(self) -> npt.NDArray[np.uint8]:
        """Bytes that stand for the images, for a fingerprint."""

    @abstractmethod
    def _batches(
        self, passes: Iterable[ViewPass], augmentation: Augmentation, device: torch.device
    ) -> Iterator[Batch]:
        """As `batches`, for an augmentation that fits the images."""

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, passes: Iterable[ViewPass], *, augmentation: Augmentation, device: torch.device
    ) -> Iterator[Batch]:
        """Every batch of every pass, in order; passes are taken one at a time as they are needed.

        Args:
            passes: which images, in which views.
            augmentation: what happens to the images of the passes that have a view.
            device: where the result is wanted.

        Raises:
            ConfigError: an augmentation for images of another kind.
            DataError: an image cannot be read; names it.
            LostWorkerError: a process that decodes was killed, such as for want of shared memory.
        """
        augmentation.check(self.image_shape[-1], is_streamed=self.is_streamed)
        return self._batches(passes, augmentation, device)
