"""Which network a checkpoint is of, by the names and shapes of its tensors."""

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

from marr_pipeline.backbone import BACKBONES
from marr_pipeline.backbone.checkpoints.matching import match_tensors
from marr_pipeline.errors import ConfigError, DataError

NUM_CHANNELS = (3, 1)
"""Of colour images and of grey ones."""


def detect_backbone(tensors: Mapping[str, Tensor], *, where: str) -> str:
    """The name in `BACKBONES` whose network has exactly these tensors, the head's classes aside.

    No two of them agree in all names and shapes, so there is at most one.

    Args:
        tensors: the checkpoint's.
        where: how errors name the file.

    Raises:
        DataError: it is none of them.
    """
    for (name, build), in_channels in product(BACKBONES.items(), NUM_CHANNELS):
        try:
            with torch.device("meta"):
                model = build(1, in_channels=in_channels, seed=0)
            match_tensors(tensors, model, new_head=True, where=where, backbone=name)
        except (ConfigError, DataError):
            continue  # not this one: the question, and no fault
        return name
    raise DataError(
        f"{where}: the tensors of one of {', '.join(BACKBONES)} expected where no backbone is "
        "named, got others; give --backbone, and what does not match is listed"
    )
