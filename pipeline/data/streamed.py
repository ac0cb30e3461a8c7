"""Large images, which stay in their files: decoded and transformed by workers, batch by batch.

A view is what the ImageNet-LT, Places-LT and iNaturalist codebases do. Training: a crop of 8 to
100 % of the area and an aspect ratio of 3/4 to 4/3, resized; a flip; where asked, brightness,
contrast and saturation changed by up to 40 %, in random order. Testing: the short side resized to
8/7 of the window (256 for 224), the centre cut out, or as published weights ask for it. Pixels go
through torchvision's functionals; only the draws are ours.

Workers are processes started from a clean server (`forkserver`; `spawn` where there is none) and
not forked: an open HDF5 file or a CUDA context does not survive a fork.
"""

import math
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise, permutations
from multiprocessing.context import BaseContext
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from marr_pipeline.data.framing import Framing
from marr_pipeline.data.image_files import ImageFiles
from marr_pipeline.data.picture import AS_STORED, Remarks
from marr_pipeline.data.views import Augmentation, Batch, ImageSplit, ViewPass
from marr_pipeline.distributed import LostWorkerError
from marr_pipeline.errors import DataError

NUM_TRIES = 10  # torchvision's, before it takes the centre
AREA, RATIO = slice(0, NUM_TRIES), slice(NUM_TRIES, 2 * NUM_TRIES)
TOP, LEFT, FLIP, ORDER = range(2 * NUM_TRIES, 2 * NUM_TRIES + 4)
JITTER = slice(ORDER + 1, ORDER + 4)
LARGE_NUM_DRAWS = JITTER.stop

SMALLEST_AREA = 0.08
LARGEST_RATIO = 4 / 3  # width over height; the smallest is its inverse
JITTER_SHARE = 0.4

_ADJUSTMENTS: tuple[Callable[[Image.Image, float], Image.Image], ...] = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
)
_ORDERS = tuple(permutations(range(len(_ADJUSTMENTS))))

CHANNELS = 3
WORKER_DIED = "DataLoader worker"  # how torch's message begins
BATCHES_AHEAD = 2
"""Of each worker. A batch of 256 images of 224 x 224 pixels takes 39 MB of shared memory."""


_BatchRequest = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64] | None]
"""B images of one view: their rows, and their rows of uniform numbers unless clean."""

_Reply = tuple[Tensor | None, str, dict[str, set[int]]]
"""Images (B, C, H, W) uint8, or None and what is wrong, as exceptions come with a traceback; and
what Pillow remarked."""


@dataclass(frozen=True, kw_only=True)
class StreamedSplit(ImageSplit):
    """One split, in its files.

    Attributes:
        files: of the whole source.
        image_size: side in pixels.
        workers: processes, which live as long as an iterator of batches; 0 decodes in this one.
        remarks: of Pillow, on the images that were read until now.
        framing: of clean images; None is the training code's at `image_size`.
    """

    files: ImageFiles
    labels: Tensor
    source_indices: Tensor
    image_size: int
    workers: int
    remarks: Remarks = field(default_factory=Remarks)
    framing: Framing | None = None
    is_streamed: ClassVar[bool] = True

    @property
    def ids(self) -> tuple[str, ...]:
        """N file paths relative to the data root."""
        return tuple(self.files.ids[row] for row in self.source_indices.tolist())

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return CHANNELS, self.image_size, self.image_size

    def framed(self, framing: Framing) -> "StreamedSplit":
        """The same files, read at another size."""
        return replace(self, image_size=framing.size, framing=framing)

    def ordered(self, rows: Tensor) -> "StreamedSplit":
        """The same files in another order."""
        return replace(self, labels=self.labels[rows], source_indices=self.source_indices[rows])

    def content(self) -> npt.NDArray[np.uint8]:
        """How files are read, and their names and lengths: to read them all would take an epoch."""
        decoding = self.files.decoding
        how = f"{self.image_size} pixels\n" + (f"{decoding}\n" if decoding != AS_STORED else "")
        return np.concatenate(
            [
                np.frombuffer(how.encode(), dtype=np.uint8),
                self.files.content(self.source_indices.numpy()),
            ]
        )

    def _batches(
        self, passes: Iterable[ViewPass], augmentation: Augmentation, device: torch.device
    ) -> Iterator[Batch]:
        wanted: deque[Tensor] = deque()  # labels of the batches that the workers are at

        def requests() -> Iterator[list[_BatchRequest]]:
            for each in passes:
                sources, labels = self.source_indices[each.rows], self.labels[each.rows]
                drawn = each.draw(self.source_indices, LARGE_NUM_DRAWS)
                draws = None if drawn is None else drawn.numpy()
                for start, stop in pairwise(each.bounds):
                    wanted.append(labels[start:stop])
                    own = None if draws is None else draws[start:stop]
                    yield [(sources[start:stop].numpy(), own)]

        replies = self._loader(requests(), augmentation, pinned=device.type == "cuda")
        for images in _checked(iter(replies), self.remarks):
            labels = wanted.popleft()
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    def _loader(
        self,
        requests: Iterator[list[_BatchRequest]],
        augmentation: Augmentation,
        *,
        pinned: bool,
    ) -> "DataLoader[_Reply]":
        has_workers = self.workers > 0
        return DataLoader(
            _Decoder(self.files, self.image_size, augmentation, self.framing),
            batch_sampler=requests,
            num_workers=self.workers,
            collate_fn=_as_it_is,
            pin_memory=pinned,
            worker_init_fn=_leave_signals_to_the_parent,
            multiprocessing_context=_clean_context() if has_workers else None,
            prefetch_factor=BATCHES_AHEAD if has_workers else None,
            generator=torch.Generator(),  # the loader draws a seed that nothing here uses
        )


@dataclass(frozen=True)
class _Decoder(Dataset[_Reply]):
    """What a worker does: files to one batch."""

    files: ImageFiles
    image_size: int
    augmentation: Augmentation
    framing: Framing | None

    def __getitems__(self, requests: list[_BatchRequest]) -> _Reply:
        """The reply to the one request of the list."""
        ((rows, uniforms),) = requests
        images, remarks = [], Remarks()
        with remarks.gathered():
            for place, row in enumerate(rows.tolist()):
                remarks.at(row)
                try:
                    image = self.files.open(row)
                except DataError as error:
                    return None, str(error), remarks.rows
                draws = None if uniforms is None else torch.from_numpy(uniforms[place])
                images.append(
                    large_view(
                        image,
                        draws,
                        self.augmentation,
                        size=self.image_size,
                        framing=self.framing,
                    )
                )
        return torch.stack(images), "", remarks.rows


def _checked(replies: Iterator[_Reply], remarks: Remarks) -> Iterator[Tensor]:
    while True:
        try:
            images, error, found = next(replies)
        except StopIteration:
            return
        # A batch that a dead worker still holds fails as a broken connection.
        except (RuntimeError, OSError, EOFError) as broken:
            if isinstance(broken, RuntimeError) and not str(broken).startswith(WORKER_DIED):
                raise
            reason = " ".join(str(broken).split()) or type(broken).__name__
            raise LostWorkerError(
                f"image workers: all of them expected to live, got {reason}; give fewer "
                "--workers, a smaller --batch-size or more shared memory (/dev/shm)"
            ) from broken
        remarks.add(found)
        if images is None:
            raise DataError(error)
        yield images


def _as_it_is(reply: Any) -> Any:
    """The loader's type asks for a list here, which `_Decoder` has already made a batch of."""
    return reply


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the parent finishes its step and ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _clean_context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch is imported once, not by every worker
    return context


def large_view(
    image: Image.Image,
    draws: Tensor | None,
    augmentation: Augmentation,
    *,
    size: int,
    framing: Framing | None = None,
) -> Tensor:
    """One view of an image.

    Args:
        image: RGB.
        draws: (LARGE_NUM_DRAWS,) in [0, 1); None makes the test view, whatever the augmentation.
        augmentation: the steps to take, `resized_crop`, `flip` and `jitter`.
        size: side of the result in pixels.
        framing: to that size; a random crop takes its interpolation alone.

    Returns:
        (3, size, size) uint8.
    """
    uniform = None if draws is None else draws.tolist()
    framing = framing or Framing.of_training_code(size)
    if uniform is not None and augmentation.resized_crop:
        top, left, rows, columns = crop_window(image.height, image.width, uniform)
        image = functional.resized_crop(
            image,
            top,
            left,
            rows,
            columns,
            size=[size, size],
            interpolation=InterpolationMode(framing.interpolation),
            antialias=True,
        )
    else:
        image = framing(image)
    if uniform is not None and augmentation.flip and uniform[FLIP] < 0.5:
        image = functional.horizontal_flip(image)
    if uniform is not None and augmentation.jitter:
        factors = [1 + JITTER_SHARE * (2 * number - 1) for number in uniform[JITTER]]
        for step in _ORDERS[int(uniform[ORDER] * len(_ORDERS))]:
            image = _ADJUSTMENTS[step](image, factors[step])
    pixels: Tensor = functional.pil_to_tensor(image)
    return pixels


def crop_window(height: int, width: int, uniform: list[float]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the random crop.

    The first of ten draws of area and ratio that fits inside the image; if none does, the centre
    with the ratio nearest to the image's own. The ratio is uniform on a logarithmic scale.

    Args:
        height: of the image.
        width: of the image.
        uniform: LARGE_NUM_DRAWS numbers in [0, 1).
    """
    log_ratio = math.log(LARGEST_RATIO)
    for area_draw, ratio_draw in zip(uniform[AREA], uniform[RATIO], strict=True):
        area = height * width * (SMALLEST_AREA + (1 - SMALLEST_AREA) * area_draw)
        ratio = math.exp(log_ratio * (2 * ratio_draw - 1))
        columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < columns <= width and 0 < rows <= height:
            top = int(uniform[TOP] * (height - rows + 1))
            left = int(uniform[LEFT] * (width - columns + 1))
            return top, left, rows, columns
    columns = min(width, max(1, round(height * LARGEST_RATIO)))
    rows = min(height, max(1, round(width * LARGEST_RATIO)))
    return (height - rows) // 2, (width - columns) // 2, rows, columns
