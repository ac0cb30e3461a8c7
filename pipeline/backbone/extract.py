"""Phase one's result: logits and features of every view of a split, in the split's own order.

N images, V views, K classes, D features. View 0 is usually `clean`; what an image becomes in view
v is drawn from (seed, v, its index in its source) alone. A block is a batch, and blocks are fixed
by row order, so any block can be made again alone and gives the same bits. The network runs in
float32, without autocast and without TF32: up to float32 rounding,
logits = features @ weight.T + bias.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.networks.heads import NormalisedHead
from marr_pipeline.data import AUGMENTATIONS
from marr_pipeline.data.framing import Framing
from marr_pipeline.data.normalise import Normalisation, normalise
from marr_pipeline.data.views import DRAWS, ImageSplit, RandomView, ViewPass
from marr_pipeline.errors import ConfigError

VIEW_NAMES = ("clean", "augmented")
# ResNet-32 at 32 x 32 on one CPU core: 560-610 images/s in batches of 128, 340 in batches of 512,
# whose activations no longer fit the cache.
DEFAULT_BATCH_SIZE = 128

BatchNorm = Literal["eval", "train"]
"""Whose statistics normalise: those of training, or each block's own as in the released code."""


@dataclass(frozen=True)
class Block:
    """Consecutive rows of one view: `start` to `stop` - 1 of the view of that index."""

    view: int
    start: int
    stop: int


BlockRows = tuple[Block, npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""A block of B rows, its logits (B, K) and its features (B, D)."""


def plan_blocks(
    num_rows: int, *, num_views: int, batch_size: int = DEFAULT_BATCH_SIZE
) -> list[Block]:
    """The blocks of a split: views in their order, rows in theirs, the last of a view shorter."""
    return [
        Block(view, start, min(start + batch_size, num_rows))
        for view in range(num_views)
        for start in range(0, num_rows, batch_size)
    ]


def transform_record(
    *,
    views: tuple[str, ...],
    augmentation: str,
    normalisation: Normalisation,
    seed: int,
    batch_norm: BatchNorm = "eval",
    batch_size: int = DEFAULT_BATCH_SIZE,
    framing: Framing | None = None,
) -> dict[str, object]:
    """What happens to an image before its logits, as JSON values for a cache's fingerprint."""
    is_drawn = "augmented" in views
    return {
        "views": list(views),
        "augmentation": augmentation if is_drawn else None,
        "seed": seed if is_drawn else None,
        "draws": DRAWS if is_drawn else None,
        **({} if framing is None else {"framing": framing.record()}),
        "normalisation": normalisation.record(),
        "batch_norm": batch_norm,
        # Decides the last bits of a row, and with batch_norm "train" all of them.
        "batch_size": batch_size,
        "precision": "float32",
    }


def head_arrays(model: Backbone) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The head's weight (K, D) and bias (K,), copied to NumPy float32; of one that normalises, what
    its normalised features are multiplied by at test time.
    """
    head = model.head
    weight, bias = head.weight.detach(), head.bias.detach()
    if isinstance(head, NormalisedHead):
        was_training = head.training
        weight = head.eval().rows().detach()
        head.train(was_training)
    return weight.float().cpu().numpy().copy(), bias.float().cpu().numpy().copy()


def extract_split(
    model: Backbone,
    split: ImageSplit,
    *,
    views: tuple[str, ...],
    augmentation: str,
    normalisation: Normalisation,
    seed: int,
    device: torch.device,
    batch_norm: BatchNorm = "eval",
    batch_size: int = DEFAULT_BATCH_SIZE,
    blocks: Sequence[Block] | None = None,
) -> Iterator[BlockRows]:
    """Run the network over the views of a split, one block of rows at a time.

    The next batch is handed to the device before a block is yielded, so a GPU computes while
    the consumer writes. The model is as before once the iterator ends or is closed.

    Args:
        model: moved to `device`; put into the mode of `batch_norm` while blocks are drawn.
        split: images (N, C, H, W).
        views: `clean` or `augmented`, one name a view.
        augmentation: a name in `AUGMENTATIONS`, for the augmented views.
        normalisation: the one the model was trained with.
        seed: of the augmentation.
        device: where the network runs.
        batch_norm: "eval" for the statistics of training; "train" for each block's own, which
            leaves the former untouched.
        batch_size: rows a block, the last of a view aside.
        blocks: which of `plan_blocks` with this batch size to make; None makes all of them.

    Yields:
        Blocks in the order given, each with its logits (B, K) and features (B, D).

    Raises:
        ConfigError: an unknown view name, or a batch size below 1.
    """
    unknown = [name for name in views if name not in VIEW_NAMES]
    if unknown or batch_size < 1:
        raise ConfigError(
            f"extraction: views out of {', '.join(VIEW_NAMES)} and a batch size of at least 1 "
            f"expected, got {', '.join(views)} and {batch_size}; correct them"
        )
    if blocks is None:
        blocks = plan_blocks(len(split), num_views=len(views), batch_size=batch_size)
    batches = view_blocks(
        split, blocks, views=views, augmentation=augmentation, seed=seed, device=device
    )
    return _run(model, batches, device, normalisation, batch_norm)


@contextmanager
def _fixed(model: Backbone, batch_norm: BatchNorm) -> Iterator[None]:
    """Within the block the network learns nothing; its modes are as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    tracking = {norm: norm.track_running_stats for norm in _norms(model)}
    model.eval()
    for norm in tracking if batch_norm == "train" else ():
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for norm, is_tracking in tracking.items():
            norm.track_running_stats = is_tracking


def _norms(model: Backbone) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def view_blocks(
    split: ImageSplit,
    blocks: Sequence[Block],
    *,
    views: tuple[str, ...],
    augmentation: str,
    seed: int,
    device: torch.device,
) -> Iterator[tuple[Block, Tensor]]:
    """The images (B, C, H, W) uint8 of each block, as its view has them.

    The arguments are those of `extract_split`.
    """

    def passes() -> Iterator[ViewPass]:
        for view, group in groupby(blocks, key=lambda block: block.view):
            bounds = [(block.start, block.stop) for block in group]
            rows = torch.cat([torch.arange(start, stop) for start, stop in bounds])
            sizes = [stop - start for start, stop in bounds]
            drawn = RandomView(purpose="cache", seed=seed, number=view)
            yield ViewPass(
                rows=rows,
                bounds=tuple(accumulate(sizes, initial=0)),
                view=drawn if views[view] == "augmented" else None,
            )

    if blocks:
        made = split.batches(passes(), augmentation=AUGMENTATIONS[augmentation], device=device)
        for block, (images, _) in zip(blocks, made, strict=True):
            yield block, images


def _run(
    model: Backbone,
    batches: Iterator[tuple[Block, Tensor]],
    device: torch.device,
    normalisation: Normalisation,
    batch_norm: BatchNorm,
) -> Iterator[BlockRows]:
    model.to(device).to(memory_format=torch.channels_last)
    by_batch = batch_norm == "train"
    waiting: tuple[Block, Tensor, Tensor] | None = None
    with _fixed(model, batch_norm):
        for block, images in batches:
            assert all(norm.training == by_batch for norm in _norms(model)), (
                "modes changed on the way"
            )
            with torch.inference_mode(), _without_tf32(device):
                logits, features = model(normalise(images, normalisation))
            if waiting is not None:
                yield _on_cpu(*waiting)
            waiting = (block, logits, features)
        if waiting is not None:
            yield _on_cpu(*waiting)


def _without_tf32(device: torch.device) -> AbstractContextManager[None]:
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(allow_tf32=False)
    return flags


def _on_cpu(block: Block, logits: Tensor, features: Tensor) -> BlockRows:
    return block, logits.float().cpu().numpy(), features.float().cpu().numpy()
