"""Phase one's second half joined: images through a network into a cache."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import cache
from pipeline import __version__
from pipeline.backbone.extract import extract_split, head_arrays, transform_record
from pipeline.cli.phase_one import Network
from pipeline.cli.progress import ProgressLine

CREATOR = f"marr-pipeline {__version__}"


def library_versions() -> dict[str, str]:
    """Versions that a cache records beside h5py's and HDF5's."""
    return {"torch": str(torch.__version__), "numpy": np.__version__}


def extract_cache(
    path: Path,
    network: Network,
    *,
    num_views: int,
    store: Literal["both", "logits", "features"],
    dtype: Literal["float32", "float16"],
    overwrite: bool,
) -> bool:
    """Write the cache of a trained network; False if that very cache is there already.

    Args:
        path: the cache.
        network: every split of its dataset is extracted, `train` also in augmented views.
        num_views: augmented views beside the clean one.
        store: which of logits and features.
        dtype: of what is stored.
        overwrite: replace a cache made from something else.

    Raises:
        StaleCacheError: a cache made from something else is there; each difference is named.
        CacheWriteError: the file cannot be written.
    """
    dataset = network.dataset
    weight, bias = head_arrays(network.model)
    plans = {
        name: cache.SplitPlan(
            num_samples=len(split),
            views=("clean",) + ("augmented",) * (num_views if name == "train" else 0),
            has_logits=store != "features",
            num_features=None if store == "logits" else weight.shape[1],
            has_ids=split.ids is not None,
        )
        for name, split in dataset.splits.items()
    }
    transforms = {
        name: transform_record(
            views=plan.views,
            augmentation=network.augmentation,
            normalisation=dataset.normalisation,
            seed=network.seed,
        )
        for name, plan in plans.items()
    }
    parts = fingerprint_parts(network, transforms, store=store, dtype=dtype)
    if path.exists() and not overwrite:
        cache.open_cache(path).require_parts(parts)
        return False
    with cache.CacheWriter(
        path,
        class_counts=dataset.class_counts,
        head=cache.Head.from_linear(weight, bias, prior_counts=dataset.class_counts),
        splits=plans,
        dtype=dtype,
        class_names=dataset.class_names,
        parts=parts,
        meta={
            "config": network.config,
            "transforms": transforms,
            "indices": {name: rows.tolist() for name, rows in dataset.source_rows().items()},
            "provenance": {"dataset": dataset.name, "device": str(network.device)},
        },
        creator=CREATOR,
        libraries=library_versions(),
        overwrite=overwrite,
    ) as writer:
        for name, plan in plans.items():
            _write_split(writer, network, name, plan)
    return True


def refuse_other_training(path: Path, config: dict[str, Any]) -> None:
    """Raise before hours of training if the cache that is there came of another one.

    Raises:
        StaleCacheError: each difference is named.
    """
    stored = cache.open_cache(path).meta("config")
    if isinstance(stored, dict):
        cache.require_same(stored, config, where=str(path))


def fingerprint_parts(
    network: Network, transforms: dict[str, Any], *, store: str, dtype: str
) -> dict[str, Any]:
    """All that decides a cache's content: weights, images, order, transforms, precision."""
    state = network.model.state_dict()
    return {
        "weights": {name: cache.digest(value.cpu().numpy()) for name, value in state.items()},
        "classes": list(network.dataset.class_names),
        "splits": {
            name: {
                "indices": cache.digest(split.source_indices.numpy()),
                "labels": cache.digest(split.labels.numpy()),
                "images": cache.digest(split.images.numpy()),
            }
            for name, split in network.dataset.splits.items()
        },
        "transforms": transforms,
        "store": store,
        "dtype": dtype,
    }


def _write_split(
    writer: cache.CacheWriter, network: Network, name: str, plan: cache.SplitPlan
) -> None:
    split = network.dataset.splits[name]
    writer.write_labels(name, split.labels.numpy())
    if split.ids is not None:
        writer.write_ids(name, split.ids)
    for block in extract_split(
        network.model,
        split,
        views=plan.views,
        augmentation=network.augmentation,
        normalisation=network.dataset.normalisation,
        seed=network.seed,
        device=network.device,
        progress=ProgressLine(f"extracting {name}"),
    ):
        writer.write_block(
            name,
            view=block.view,
            start=block.start,
            logits=block.logits if plan.has_logits else None,
            features=None if plan.num_features is None else block.features,
        )
