"""Arrays of others joined into a cache: splits from `.npz`, the head from what users have."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import cache
from pipeline.cli.caching import CREATOR, library_versions
from pipeline.errors import DataError

HEAD_ARRAYS = ("weight", "bias", "weight_norm", "class_counts", "prior_counts")


def import_arrays(
    files: Mapping[str, Path], head_file: Path | None, output: Path, *, overwrite: bool
) -> list[str]:
    """Write a cache from one `.npz` a split; returns what a user should know of the result.

    Args:
        files: split name to file; `train` is among them.
        head_file: weight and bias, or weight_norm, and counts; None if the head is unknown.
        output: the cache.
        overwrite: replace an existing one.

    Raises:
        CacheError: a file is invalid, or head and logits disagree; nothing is written.
        DataError: the head's file cannot be read.
    """
    splits = {name: cache.read_npz_split(path) for name, path in files.items()}
    num_classes = splits["train"].logits.shape[2]
    for name, arrays in splits.items():
        if arrays.logits.shape[2] != num_classes:
            raise DataError(
                f"{files[name]}: logits of {num_classes} classes expected, as in train, got "
                f"{arrays.logits.shape[2]}; give splits of one model"
            )
    given = {} if head_file is None else read_head(head_file)
    warnings = []
    counts = given.get("class_counts")
    if counts is None:
        counts = np.bincount(splits["train"].labels, minlength=num_classes)
    if len(counts) != num_classes:
        raise DataError(
            f"{head_file}: class_counts of {num_classes} classes expected, as in the logits, "
            f"got {len(counts)}"
        )
    if "weight" not in given and "weight_norm" not in given:
        warnings.append("no head given: every weight norm is 1, and marr is vector scaling")
        given["weight_norm"] = np.ones(num_classes)
    cache.write_arrays(
        output,
        class_counts=counts.astype(np.int64),
        head=_head(given),
        splits=splits,
        parts={"splits": {name: _digests(arrays) for name, arrays in splits.items()}},
        meta={},
        creator=CREATOR,
        libraries=library_versions(),
        overwrite=overwrite,
    )
    absent = int((counts == 0).sum())
    if absent:
        warnings.append(f"{absent} of {num_classes} classes have no training image")
    return warnings


def read_head(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Arrays named in `HEAD_ARRAYS` of an `.npz`, `.safetensors` or torch state dict.

    In a state dict the names may carry a prefix, as in `fc.weight`, if that is the only one.

    Raises:
        CacheError: an `.npz` that is damaged or holds objects.
        DataError: unreadable, or neither `weight` nor `weight_norm` in it.
    """
    try:
        if path.suffix == ".npz":
            arrays = cache.read_npz(path)
        elif path.suffix == ".safetensors":
            arrays = _arrays(load_file(path))
        else:
            arrays = _arrays(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{path}: a head as .npz, .safetensors or state dict expected, got: {error}"
        ) from error
    found = {name: arrays[name] for name in HEAD_ARRAYS if name in arrays}
    prefixes = {name.rpartition(".")[0] for name in arrays if name.endswith(".weight")}
    if not {"weight", "weight_norm"} & set(found) and len(prefixes) == 1:
        (prefix,) = prefixes
        found = {
            name: arrays[f"{prefix}.{name}"]
            for name in ("weight", "bias")
            if f"{prefix}.{name}" in arrays
        }
    if not {"weight", "weight_norm"} & set(found):
        raise DataError(
            f"{path}: an array 'weight' (K, D) or 'weight_norm' (K,) expected, got "
            f"{', '.join(sorted(arrays)) or 'nothing'}; rename the head's"
        )
    return found


def read_logits(path: Path) -> dict[str, npt.NDArray[Any]]:
    """`logits` (..., K) of an `.npz`, with `labels` and `ids` where they are there.

    Raises:
        CacheError: not an `.npz`, damaged, or it holds objects.
        DataError: no logits in it, or logits that are not finite numbers.
    """
    found = cache.read_npz(path)
    arrays = {name: found[name] for name in found if name in ("logits", "labels", "ids")}
    logits = arrays.get("logits")
    if logits is None or logits.ndim < 2 or logits.dtype.kind != "f" or not logits.size:
        got = "none" if logits is None else f"{logits.shape} {logits.dtype}"
        raise DataError(f"{path}: floating-point 'logits' (N, K) expected, got {got}")
    if not np.isfinite(logits).all():
        row = np.argwhere(~np.isfinite(logits))[0].tolist()
        raise DataError(f"{path}: finite logits expected, got {logits[tuple(row)]} at {row}")
    return arrays


def _arrays(tensors: Any) -> dict[str, npt.NDArray[Any]]:
    if not isinstance(tensors, Mapping):
        raise ValueError(f"a mapping of tensors expected, got {type(tensors).__name__}")
    return {
        str(name): value.float().numpy() if value.is_floating_point() else value.numpy()
        for name, value in tensors.items()
        if isinstance(value, torch.Tensor)
    }


def _head(given: Mapping[str, npt.NDArray[Any]]) -> cache.Head:
    prior = given.get("prior_counts")
    if "weight" in given:
        return cache.Head.from_linear(given["weight"], given.get("bias"), prior_counts=prior)
    bias = given.get("bias")
    return cache.Head(
        weight_norm=given["weight_norm"].astype(np.float64),
        bias=None if bias is None else bias.astype(np.float64),
        prior_counts=None if prior is None else prior.astype(np.float64),
    )


def _digests(arrays: cache.SplitArrays) -> dict[str, str]:
    return {"logits": cache.digest(arrays.logits), "labels": cache.digest(arrays.labels)}
