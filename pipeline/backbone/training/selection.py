"""Which weights of a training are kept: the last, or the best on the tune split.

Scored is balanced accuracy, the mean of the K classes' own, on clean images at the end of every
epoch; of equals the first is kept. The test split is never looked at.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from marr_pipeline.backbone.extract import extract_split, plan_blocks
from marr_pipeline.backbone.networks.model import Backbone
from marr_pipeline.data.normalise import Normalisation
from marr_pipeline.data.views import Split
from marr_pipeline.distributed import ALONE, Ranks


@dataclass(frozen=True)
class Selected:
    """The best weights so far.

    Attributes:
        step: steps done when they were scored.
        balanced_accuracy: their score, a fraction.
        model: state dict, on the CPU.
    """

    step: int
    balanced_accuracy: float
    model: dict[str, Tensor]


def better(best: Selected | None, model: Backbone, *, step: int, score: float) -> Selected:
    """A copy of the model's weights if their score is above that of `best`, else `best`."""
    if best is not None and score <= best.balanced_accuracy:
        return best
    copy = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
    return Selected(step, score, copy)


def balanced_accuracy(
    model: Backbone,
    split: Split,
    *,
    normalisation: Normalisation,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> float:
    """Mean over the classes present of the fraction of their images that are classified right.

    Args:
        model: on `device`; its mode is as before afterwards.
        split: at least one image.
        normalisation: the one the model is trained with.
        device: where the network runs.
        ranks: the processes that share the images; each has the same model and the same result.

    Raises:
        DataError: an image cannot be read; names it.
        LostRankError: another rank has ended.
    """
    labels = split.labels.numpy()
    images = np.bincount(labels)
    right = np.zeros_like(images)
    for block in extract_split(
        model,
        split,
        views=("clean",),
        augmentation="none",
        normalisation=normalisation,
        seed=0,
        device=device,
        blocks=ranks.share(plan_blocks(len(split), num_views=1)),
    ):
        own = labels[block.start : block.start + len(block.logits)]
        right += np.bincount(own[block.logits.argmax(axis=1) == own], minlength=len(images))
    right = ranks.gather(torch.from_numpy(right)).sum(0).numpy()
    present = images > 0
    return float((right[present] / images[present]).mean())
