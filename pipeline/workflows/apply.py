"""Rectified logits and predictions, of a cache's split or of logits in an `.npz`."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from marr_pipeline.cache import open_cache
from marr_pipeline.errors import DataError
from marr_pipeline.files import FileName, replacing
from marr_pipeline.rectify.rectifier_file import load_rectifier
from marr_pipeline.workflows.arrays import read_logits
from marr_pipeline.workflows.cached import evaluation_rows, rectifier_for

Arrays = dict[str, npt.NDArray[Any]]


def apply(
    source: FileName,
    rectifier: FileName,
    *,
    split: str = "test",
    any_head: bool = False,
    output: FileName | None = None,
) -> Arrays:
    """Rectified arrays of a cache's split or of an `.npz` with `logits`.

    Args:
        source: cache, or `.npz` with logits (N, K) or (V, N, K), features where the rectifier needs
            them, and whatever else.
        rectifier: written by `rectify`.
        split: of a cache; its clean view is taken.
        any_head: accept a rectifier that was fitted on another head.
        output: where the arrays go, `.npz`.

    Returns:
        `logits` as given in shape, float32, and `predictions` without the last axis, int64;
        `labels` and `ids` where the source has them.

    Raises:
        CacheError: the source is invalid or lacks the split.
        DataError: the rectifier is invalid, of another head or another number of classes.
        PipelineError: `output` cannot be written.
    """
    source, rectifier = Path(source), Path(rectifier)
    arrays: Arrays = {}
    if source.suffix == ".npz":
        found = load_rectifier(rectifier)
        arrays = read_logits(source)
        logits, given = torch.from_numpy(arrays["logits"]), arrays.pop("features", None)
        features = None if given is None else torch.from_numpy(given)
        if logits.shape[-1] != found.num_classes:
            raise DataError(
                f"{source}: logits of {found.num_classes} classes expected, as in {rectifier}, "
                f"got {logits.shape[-1]}"
            )
    else:
        cached = open_cache(source)
        found = rectifier_for(cached, rectifier, any_head=any_head)
        rows, ids = evaluation_rows(cached, split), cached.split(split).ids
        logits, features = rows.logits, rows.features
        arrays["labels"] = rows.labels.numpy()
        if ids is not None:
            arrays["ids"] = np.asarray(ids)
    rectified = found.apply(logits, features)
    arrays |= {
        "logits": rectified.float().numpy(),
        "predictions": rectified.argmax(-1).numpy(),
    }
    if output is not None:
        with replacing(Path(output)) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    return arrays
