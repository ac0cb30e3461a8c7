"""A run made: its network trained, its cache extracted, its methods fitted and scored.

Each as far as it is not done; files and names are those of `runs`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline import cache
from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint
from marr_pipeline.device import resolve_device
from marr_pipeline.errors import DataError
from marr_pipeline.workflows import CREATOR, library_versions
from marr_pipeline.workflows.compare import compare
from marr_pipeline.workflows.extract import extract
from marr_pipeline.workflows.paper.runs import (
    Run,
    Schedule,
    cut_parts,
    extraction_command,
    record_path,
    write_record,
)
from marr_pipeline.workflows.request import Listener

SPLIT = "test"


def make(
    run: Run,
    keys: Sequence[str],
    schedule: Schedule,
    data_root: Path,
    folder: Path,
    listener: Listener,
) -> dict[str, Any]:
    """Train, extract and score, each as far as that is not done; the record.

    Raises:
        PipelineError: as `extract` and `compare`; what is kept has been said then.
        KeyboardInterrupt: stopped by a signal; its text says what is kept.
    """
    path = make_cache(run, schedule, data_root, folder, listener)
    if run.rows_of is not None:
        path = _with_rows_of(path, run, schedule, data_root, folder, listener)
    cached, progress = cache.open_cache(path), listener.progress("comparing")
    done = compare(cached, methods=[*keys], split=SPLIT, progress=progress, say=listener.say)
    document = done.document()
    record = {
        "creator": CREATOR,
        "versions": library_versions(),
        "command": extraction_command(run, schedule, data_root, folder),
        "rows_of": None if run.rows_of is None else run.rows_of.name,
        "fingerprint": cached.fingerprint,
        "device": str(resolve_device(schedule.device)),
        "seed": run.seed,
        **{name: document[name] for name in ("samples", "methods", "failed", "warnings")},
    }
    return write_record(record_path(run, folder), record)


def make_cache(
    run: Run, schedule: Schedule, data_root: Path, folder: Path, listener: Listener
) -> Path:
    """The cache of its network, made unless it is there, which `kept_of` has looked at then.

    Raises:
        StaleCacheError: it is of another network than the checkpoint that is beside it.
    """
    output = folder / f"{run.stem}.h5"
    checkpoint = output.with_suffix(".pt")
    if not output.exists():
        request = run.request(schedule, data_root)
        extract(request, output=output, views=schedule.views, listener=listener)
    elif checkpoint.exists():
        model = load_checkpoint(checkpoint).model
        weights = {name: cache.digest(value.numpy()) for name, value in model.items()}
        if weights != cache.open_cache(output).parts["weights"]:
            raise cache.StaleCacheError(
                f"{output}: the network of {checkpoint.name} expected, got the outputs of another; "
                "delete one of the two"
            )
    return output


def _with_rows_of(
    path: Path, run: Run, schedule: Schedule, data_root: Path, folder: Path, listener: Listener
) -> Path:
    """The cache of a network with the training rows of other images alone, which lie in its own.

    One seed draws nested images, so that phase two on the rarer ones needs no second extraction.
    """
    output = folder / f"{run.scored_stem}.h5"
    made = make_cache(run.of_rarer_images, schedule, data_root, folder, listener)
    cached, rarer = cache.open_cache(path), cache.open_cache(made)
    parts = cut_parts(cached, rarer)
    if output.exists() and cache.open_cache(output).parts == parts:
        return output
    if _test_images(cached) != _test_images(rarer):
        raise DataError(
            f"{path}: the test images of {rarer.path} expected, got others; use one data root for "
            "both"
        )
    own, asked = (_training_images(each) for each in (cached, rarer))
    rows = np.flatnonzero(np.isin(own, asked))
    if len(rows) != len(asked):
        raise DataError(
            f"{path}: the {len(asked):,} training images of {rarer.path} among its own expected, "
            f"got {len(rows):,}; use one data root for both"
        )
    arrays = {}
    for name, split in cached.splits.items():
        chosen = rows if name == "train" else np.arange(split.num_samples)
        arrays[name] = cache.SplitArrays(
            logits=None if split.logits is None else split.logits[:, chosen],
            features=None if split.features is None else split.features[:, chosen],
            labels=split.labels[chosen],
            views=split.views,
        )
    documents = {name: cached.meta(name) for name in ("config", "transforms", "provenance")}
    plan = cache.CachePlan(
        class_counts=rarer.class_counts,
        head=cached.head,
        splits={name: split.plan for name, split in arrays.items()},
        class_names=cached.class_names,
        parts=parts,
        meta={**documents, "cut": {"from": cached.fingerprint, "rows of": rarer.fingerprint}},
        creator=CREATOR,
        libraries=library_versions(),
    )
    cache.write_arrays(output, plan, arrays, overwrite=True)
    return output


def _test_images(cached: cache.Cache) -> str:
    """Their digest."""
    parts: Any = cached.parts
    return str(parts["splits"]["test"]["images"])


def _training_images(cached: cache.Cache) -> npt.NDArray[np.int64]:
    """Their places in the dataset."""
    indices: Any = cached.meta("indices")
    return np.asarray(indices["train"], dtype=np.int64)
