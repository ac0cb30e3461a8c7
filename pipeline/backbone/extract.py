"""Phase one's result: logits and features of every view of a split, in the split's own order.

N images, V views, K classes, D features. View 0 is usually `clean`; view v draws its
augmentation from (seed, v), row by row, so any row of any view can be made again alone. The
network runs in eval mode and float32, without autocast and without TF32: up to float32
rounding,  logits = features @ weight.T + bias.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.backbone.resnet import ResNet
from pipeline.data import AUGMENTATIONS
from pipeline.data.augment import augment_batch, draw_augmentation, view_generator
from pipeline.data.images import ImageSplit
from pipeline.data.normalise import Normalisation, normalise
from pipeline.errors import ConfigError
from pipeline.progress import Progress, silent

VIEW_NAMES = ("clean", "augmented")
# ResNet-32 at 32 x 32 on one CPU core: 560-610 images/s in batches of 128, 340 in batches of 512,
# whose activations no longer fit the cache.
DEFAULT_BATCH_SIZE = 128


@dataclass(frozen=True)
class Block:
    """Consecutive rows of one view.

    Attributes:
        view: index of the view.
        start: row of the first of the B images.
        logits: (B, K) float32.
        features: (B, D) float32.
    """

    view: int
    start: int
    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]


def transform_record(
    *, views: tuple[str, ...], augmentation: str, normalisation: Normalisation, seed: int
) -> dict[str, object]:
    """What happens to an image before its logits, as JSON values for a cache's fingerprint."""
    is_drawn = "augmented" in views
    return {
        "views": list(views),
        "augmentation": augmentation if is_drawn else None,
        "seed": seed if is_drawn else None,
        "normalisation": normalisation.record(),
        "batch_norm": "eval",
        "precision": "float32",
    }


def head_arrays(model: ResNet) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The head's weight (K, D) and bias (K,), copied to NumPy float32."""
    weight, bias = model.head.weight.detach(), model.head.bias.detach()
    return weight.float().cpu().numpy().copy(), bias.float().cpu().numpy().copy()


def extract_split(
    model: ResNet,
    split: ImageSplit,
    *,
    views: tuple[str, ...],
    augmentation: str,
    normalisation: Normalisation,
    seed: int,
    device: torch.device,
    batch_size: int = DEFAULT_BATCH_SIZE,
    start: tuple[int, int] = (0, 0),
    progress: Progress = silent,
) -> Iterator[Block]:
    """Run the network over every view of a split, one block of rows at a time.

    The next batch is handed to the device before a block is yielded, so a GPU computes while
    the consumer writes. The model's modes are as before once the iterator ends or is closed.

    Args:
        model: moved to `device`; put into eval mode while blocks are drawn.
        split: images (N, C, H, W).
        views: `clean` or `augmented`, one name a view.
        augmentation: a name in `AUGMENTATIONS`, for the augmented views.
        normalisation: the one the model was trained with.
        seed: of the augmentation.
        device: where the network runs.
        batch_size: rows a block, the last of a view aside.
        start: (view, row) to begin at; earlier rows are skipped, later ones are what they would
            have been. Give a multiple of `batch_size` as row for the same bits.
        progress: told rows done of V N, once a block.

    Yields:
        Blocks in the order of views, then rows.

    Raises:
        ConfigError: an unknown view name, or a batch size below 1.
    """
    unknown = [name for name in views if name not in VIEW_NAMES]
    if unknown or batch_size < 1:
        raise ConfigError(
            f"extraction: views out of {', '.join(VIEW_NAMES)} and a batch size of at least 1 "
            f"expected, got {', '.join(views)} and {batch_size}; correct them"
        )
    return _blocks(
        _EvalNetwork(model, device, normalisation),
        split,
        views,
        augmentation,
        seed,
        batch_size,
        start,
        progress,
    )


class _EvalNetwork:
    """A network in eval mode between `enter` and `leave`, in plain float32."""

    def __init__(self, model: ResNet, device: torch.device, normalisation: Normalisation) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.device = device
        self.normalisation = normalisation
        self.modes: dict[nn.Module, bool] = {}

    def enter(self) -> None:
        self.modes = {module: module.training for module in self.model.modules()}
        self.model.eval()

    def leave(self) -> None:
        for module, training in self.modes.items():
            module.training = training

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        norms = [m for m in self.model.modules() if isinstance(m, nn.BatchNorm2d)]
        assert not any(norm.training for norm in norms), "batch statistics in an extraction"
        with torch.inference_mode(), self._without_tf32():
            logits, features = self.model(normalise(images, self.normalisation))
        return logits, features

    def _without_tf32(self) -> AbstractContextManager[None]:
        if self.device.type != "cuda":
            return nullcontext()
        flags: AbstractContextManager[None] = torch.backends.cudnn.flags(allow_tf32=False)
        return flags


def _blocks(
    network: _EvalNetwork,
    split: ImageSplit,
    views: tuple[str, ...],
    augmentation: str,
    seed: int,
    batch_size: int,
    start: tuple[int, int],
    progress: Progress,
) -> Iterator[Block]:
    first_view, first_row = start
    total = len(views) * len(split)
    network.enter()
    try:
        images = split.images.to(network.device)
        waiting: tuple[int, int, Tensor, Tensor] | None = None
        for view in range(first_view, len(views)):
            draws = draw_augmentation(len(split), generator=view_generator(seed, view))
            draws = draws.to(network.device)
            for row in range(first_row if view == first_view else 0, len(split), batch_size):
                batch = images[row : row + batch_size]
                if views[view] == "augmented":
                    own = draws[row : row + batch_size]
                    batch = augment_batch(batch, own, AUGMENTATIONS[augmentation])
                logits, features = network(batch)
                if waiting is not None:
                    yield _to_block(waiting, len(split), total, progress)
                waiting = (view, row, logits, features)
        if waiting is not None:
            yield _to_block(waiting, len(split), total, progress)
    finally:
        network.leave()


def _to_block(
    waiting: tuple[int, int, Tensor, Tensor], num_rows: int, total: int, progress: Progress
) -> Block:
    view, row, logits, features = waiting
    block = Block(view, row, logits.float().cpu().numpy(), features.float().cpu().numpy())
    progress(view * num_rows + row + len(block.logits), total, "rows")
    return block
