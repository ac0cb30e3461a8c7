"""Phase one's second half joined: images through a network into a cache."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from marr_pipeline import cache
from marr_pipeline.backbone.extract import BatchNorm, head_arrays, transform_record
from marr_pipeline.distributed import ALONE, LostRankError, Ranks
from marr_pipeline.workflows.creator import CREATOR, library_versions
from marr_pipeline.workflows.extraction import (
    ExtractionWork,
    unsaid,
    write_as_first,
    write_as_partner,
)
from marr_pipeline.workflows.phase_one import Network


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What an extraction did.

    Attributes:
        is_new: whether it wrote the cache; False if that very cache was there already.
        num_rows: of all views of all splits.
        num_rows_kept: those that were there before, from a run that was stopped.
    """

    is_new: bool
    num_rows: int
    num_rows_kept: int


def extract_cache(
    path: Path,
    network: Network,
    *,
    num_views: int,
    store: Literal["both", "logits", "features"],
    dtype: Literal["float32", "float16"],
    overwrite: bool,
    batch_norm: BatchNorm = "eval",
    resume: bool = True,
    ranks: Ranks = ALONE,
    say: Callable[[str], None] = unsaid,
) -> Extraction:
    """Write the cache of a trained network, unless that very cache is there already.

    What a stopped run of the same cache has written is kept. Ctrl-C, SIGTERM and any error leave
    what is written to the next run.

    Args:
        path: the cache.
        network: every split of its dataset is extracted, `train` also in augmented views.
        num_views: augmented views beside the clean one.
        store: which of logits and features.
        dtype: of what is stored.
        overwrite: replace a cache, or an unfinished one, made from something else.
        batch_norm: whose statistics normalise.
        resume: keep what a stopped run has written; False begins anew.
        ranks: the processes that share the rows; each calls this with the same arguments.
        say: takes the lines for the user.

    Raises:
        StaleCacheError: a cache made from something else is there; each difference is named.
        CacheWriteError: the file cannot be written.
        LostRankError: another process of the run has ended.
        KeyboardInterrupt: stopped by a signal; its text says what is kept.
    """
    writer = cache_writer(
        path,
        network,
        num_views=num_views,
        store=store,
        dtype=dtype,
        batch_norm=batch_norm,
        overwrite=overwrite,
        resume=resume,
    )
    if ranks.of_first(path.exists() and not overwrite):
        if ranks.is_first:
            cache.open_cache(path).require_parts(writer.plan.parts)
        ranks.meet()  # if the first process has refused it, the others fail here
        return Extraction(is_new=False, num_rows=writer.num_rows, num_rows_kept=writer.num_rows)
    work = ExtractionWork(network=network, batch_norm=batch_norm, ranks=ranks, say=say)
    try:
        if ranks.is_first:
            write_as_first(writer, work)
        else:
            write_as_partner(writer, work)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(_left(writer)) from error
    except LostRankError:
        say(f"stopped, as another process of the run has ended: {_left(writer)}")
        raise
    except Exception:
        if writer.num_rows_written:
            say(_left(writer))
        raise
    return Extraction(is_new=True, num_rows=writer.num_rows, num_rows_kept=writer.num_rows_kept)


def cache_writer(
    path: Path,
    network: Network,
    *,
    num_views: int,
    store: Literal["both", "logits", "features"],
    dtype: Literal["float32", "float16"],
    batch_norm: BatchNorm,
    overwrite: bool = False,
    resume: bool = True,
) -> cache.CacheWriter:
    """What writes the cache of a network, and its plan; no file is touched before `with`.

    The arguments are those of `extract_cache`.
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
            batch_norm=batch_norm,
        )
        for name, plan in plans.items()
    }
    plan = cache.CachePlan(
        class_counts=dataset.class_counts,
        head=cache.Head.from_linear(weight, bias, prior_counts=network.prior_counts),
        splits=plans,
        dtype=dtype,
        class_names=dataset.class_names,
        parts=fingerprint_parts(network, transforms, store=store, dtype=dtype),
        meta={
            "config": network.config,
            "transforms": transforms,
            "indices": {name: rows.tolist() for name, rows in dataset.source_rows().items()},
            "provenance": {"dataset": dataset.name, "device": str(network.device)},
        },
        creator=CREATOR,
        libraries=library_versions(),
    )
    return cache.CacheWriter(path, plan, overwrite=overwrite, resumable=True, resume=resume)


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
    # Where they are the training split's, the labels tell them already.
    prior, counts = network.prior_counts, network.dataset.class_counts
    is_told = prior is not None and np.array_equal(prior, counts)
    return {
        **({} if is_told else {"prior_counts": None if prior is None else prior.tolist()}),
        "weights": {name: cache.digest(value.cpu().numpy()) for name, value in state.items()},
        "classes": list(network.dataset.class_names),
        "splits": {
            name: {
                "indices": cache.digest(split.source_indices.numpy()),
                "labels": cache.digest(split.labels.numpy()),
                "images": cache.digest(split.content()),
            }
            for name, split in network.dataset.splits.items()
        },
        "transforms": transforms,
        "store": store,
        "dtype": dtype,
    }


def _left(writer: cache.CacheWriter) -> str:
    """What a writer that has stopped leaves to the next one."""
    kept = writer.num_rows_written
    if not kept:
        return "no rows were written yet"
    return f"{kept:,} of {writer.num_rows:,} rows are kept, the same command goes on from there"
