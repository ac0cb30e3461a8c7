"""The head or matrix that a user's `--center FILE` is."""

from pathlib import Path

import numpy as np
import torch

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.inputs import GivenHead
from marr_pipeline.state_dict import not_finite
from marr_pipeline.workflows.arrays import map_npy
from marr_pipeline.workflows.arrays.head import read_head


def read_center(path: Path, num_classes: int, num_features: int | None) -> GivenHead:
    """A matrix (K, D), such as text embeddings of class names, or a head with its bias.

    An `.npy` file is a matrix. Others hold `weight` and perhaps `bias`, `log_prior` and
    `normalise`; the rectifier of a whole head holds all of them.

    Raises:
        DataError: unreadable, no such matrix, or one of other classes or features.
    """
    arrays = {"weight": map_npy(path)} if path.suffix == ".npy" else read_head(path)[0]
    weight = arrays.get("weight")
    if weight is None or weight.ndim != 2 or len(weight) != num_classes:
        found = "none" if weight is None else f"shape {weight.shape}"
        raise DataError(
            f"{path}: a matrix `weight` of {num_classes} rows, one a class, expected as centre, "
            f"got {found}; give class embeddings as .npy, or a head"
        )
    for name in {"weight", "bias", "log_prior"} & arrays.keys():
        if arrays[name].dtype.kind not in "biuf":
            raise DataError(
                f"{path}: numbers expected in {name}, got {arrays[name].dtype}; give class "
                "embeddings as a matrix of floating-point numbers"
            )
    if num_features not in (None, weight.shape[1]):
        raise DataError(
            f"{path}: a matrix of {num_features} columns, one a feature, expected as centre, got "
            f"{weight.shape[1]}; is it of the backbone that made the features?"
        )
    numbers: dict[str, torch.Tensor] = {
        name: torch.from_numpy(arrays[name].astype(np.float64))
        for name in ("weight", "bias", "log_prior")
        if name in arrays
    }
    broken = not_finite(numbers)
    if broken:
        raise DataError(f"{path}: finite numbers expected in {broken[0]}, got others")
    return GivenHead(**numbers, normalise=str(arrays.get("normalise", "none")))
