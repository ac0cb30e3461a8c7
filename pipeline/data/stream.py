"""Images that do not fit in memory: decoded and transformed by worker processes, batch by batch.

What image i is in a view is a function of the view and of i's source index alone, so it is the
same for any number of workers and in any batch. Workers are started from a clean server process
(`forkserver`; `spawn` where there is none) and not forked: an open HDF5 file or a CUDA context
does not survive a fork.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from marr_pipeline.data.augment import Augmentation
from marr_pipeline.data.decode import open_image
from marr_pipeline.data.image_files import ImageFiles
from marr_pipeline.data.large import LARGE_NUM_DRAWS, large_eval, large_view
from marr_pipeline.data.views import Batch, ViewPass
from marr_pipeline.errors import ConfigError, DataError, PipelineError

CHANNELS = 3
WORKER_DIED = "DataLoader worker"  # how torch's message begins
BATCHES_AHEAD = 2
"""Of each worker. A batch of 256 images of 224 x 224 pixels takes 39 MB of shared memory."""


@dataclass(frozen=True)
class _BatchRequest:
    """B images of one view: their rows, and their rows of uniform numbers unless clean."""

    rows: npt.NDArray[np.int64]
    draws: npt.NDArray[np.float64] | None


_Reply = tuple[Tensor | None, str]
"""Images (B, C, H, W) uint8, or None and what is wrong: exceptions come with a traceback."""


@dataclass(frozen=True, kw_only=True)
class StreamedSplit:
    """One split, in its files.

    Attributes:
        files: of the whole source.
        labels: (N,) int64.
        source_indices: (N,) int64, the row of each image in `files`.
        image_size: side in pixels.
        workers: processes; 0 decodes in this one.
    """

    files: ImageFiles
    labels: Tensor
    source_indices: Tensor
    image_size: int
    workers: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ids(self) -> tuple[str, ...]:
        """N file paths relative to the data root."""
        return tuple(self.files.ids[row] for row in self.source_indices.tolist())

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return CHANNELS, self.image_size, self.image_size

    def content(self) -> npt.NDArray[np.uint8]:
        """The size, and names and lengths of the files: to read them all would take an epoch."""
        size = np.frombuffer(f"{self.image_size} pixels\n".encode(), dtype=np.uint8)
        return np.concatenate([size, self.files.content(self.source_indices.numpy())])

    def batches(
        self, passes: Iterable[ViewPass], *, augmentation: Augmentation, device: torch.device
    ) -> Iterator[Batch]:
        """See `views.Split`. The workers live as long as the iterator.

        Raises:
            ConfigError: an augmentation for images in memory.
            DataError: an image is missing or broken; names it.
            PipelineError: a worker was killed, such as for want of shared memory.
        """
        if augmentation.needs_memory:
            raise ConfigError(
                f"augmentation: one for large images expected at {self.image_size} pixels, got "
                f"{augmentation}; choose another or a smaller --image-size"
            )
        return self._batches(passes, augmentation, device)

    def _batches(
        self, passes: Iterable[ViewPass], augmentation: Augmentation, device: torch.device
    ) -> Iterator[Batch]:
        wanted: deque[Tensor] = deque()  # labels of the batches that the workers are at

        def requests() -> Iterator[list[_BatchRequest]]:
            for each in passes:
                for start, stop in pairwise(each.bounds):
                    rows = each.rows[start:stop]
                    sources = self.source_indices[rows]
                    draws = None
                    if each.view is not None:
                        draws = each.view.draw(sources, num_draws=LARGE_NUM_DRAWS).numpy()
                    wanted.append(self.labels[rows])
                    yield [_BatchRequest(sources.numpy(), draws)]

        replies = self._loader(requests(), augmentation, pinned=device.type == "cuda")
        for images in _checked(iter(replies)):
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
            _Decoder(self.files, self.image_size, augmentation),
            batch_sampler=requests,
            num_workers=self.workers,
            collate_fn=_as_it_is,
            pin_memory=pinned,
            worker_init_fn=_leave_signals_to_the_parent,
            multiprocessing_context=_clean_context() if has_workers else None,
            prefetch_factor=BATCHES_AHEAD if has_workers else None,
            generator=torch.Generator(),  # the loader draws a seed that nothing here uses
        )


class _Decoder(Dataset[_Reply]):
    """What a worker does: files to one batch."""

    def __init__(self, files: ImageFiles, image_size: int, augmentation: Augmentation) -> None:
        self.files = files
        self.image_size = image_size
        self.augmentation = augmentation

    def __getitems__(self, requests: list[_BatchRequest]) -> _Reply:
        """The reply to the one request of the list."""
        (request,) = requests
        images = []
        for place, row in enumerate(request.rows):
            try:
                image = open_image(self.files.path(row))
            except DataError as error:
                return None, str(error)
            if request.draws is None:
                images.append(large_eval(image, size=self.image_size))
            else:
                draws = torch.from_numpy(request.draws[place])
                images.append(large_view(image, draws, self.augmentation, size=self.image_size))
        return torch.stack(images), ""


def _checked(replies: Iterator[_Reply]) -> Iterator[Tensor]:
    while True:
        try:
            images, error = next(replies)
        except StopIteration:
            return
        # A batch that a dead worker still holds fails as a broken connection.
        except (RuntimeError, OSError, EOFError) as broken:
            if isinstance(broken, RuntimeError) and not str(broken).startswith(WORKER_DIED):
                raise
            reason = " ".join(str(broken).split()) or type(broken).__name__
            raise PipelineError(
                f"image workers: all of them expected to live, got {reason}; give fewer "
                "--workers, a smaller --batch-size or more shared memory (/dev/shm)"
            ) from broken
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
