"""`extract`: images through a network into a cache, by one process or by several.

Every process runs the blocks that are its own, one after the other; the first one lays the file
out and seals it.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from marr_pipeline import cache
from marr_pipeline.backbone.extract import (
    DEFAULT_BATCH_SIZE,
    BatchNorm,
    extract_split,
    head_arrays,
    plan_blocks,
    transform_record,
)
from marr_pipeline.distributed import ALONE, LostRankError, Ranks, deferred_interrupt
from marr_pipeline.files import FileName
from marr_pipeline.progress import Forecast
from marr_pipeline.workflows import CREATOR, library_versions
from marr_pipeline.workflows.checkpoint import checkpoint_network
from marr_pipeline.workflows.checks import last_look
from marr_pipeline.workflows.phase_one import Dtype, Network, Store, describe_pictures, threads_for
from marr_pipeline.workflows.request import NOBODY, Listener, PhaseOneRequest
from marr_pipeline.workflows.train import (
    after_first_stage,
    plan_training,
    planned_network,
    train_or_resume,
)


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What an extraction did.

    Attributes:
        path: the cache.
        is_new: whether it wrote the cache; False if that very cache was there already.
        num_rows: of all views of all splits.
        num_rows_kept: those that were there before, from a run that was stopped.
        warnings: what the user should look at.
    """

    path: Path
    is_new: bool
    num_rows: int
    num_rows_kept: int
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The JSON document of `pipeline extract`."""
        return {
            "command": "extract",
            "cache": self.path,
            "fingerprint": cache.open_cache(self.path).fingerprint,
            "written": self.is_new,
            "rows": self.num_rows,
            "rows_kept": self.num_rows_kept,
            "warnings": self.warnings,
        }


def extract(
    request: PhaseOneRequest,
    *,
    output: FileName,
    views: int = 4,
    store: Store = "both",
    dtype: Dtype = "float32",
    batch_norm: BatchNorm = "eval",
    batch_size: int = DEFAULT_BATCH_SIZE,
    ranks: Ranks = ALONE,
    listener: Listener = NOBODY,
) -> Extraction:
    """Write the cache of a network, unless that very cache is there already.

    Without a checkpoint in the request, or published weights, the network is trained first, and
    kept under the cache's name with the suffix .pt. What a stopped run of the same cache has
    written is kept. Ctrl-C, SIGTERM and any error leave what is written to the next run.

    Args:
        request: images and network; every split is extracted, `train` also in augmented views.
            `overwrite` replaces a cache, or an unfinished one, made from something else;
            `resume=False` begins anew.
        output: the cache.
        views: augmented views beside the clean one.
        store: which of logits and features.
        dtype: of what is stored.
        batch_norm: whose statistics normalise the images of `train`; see `for_extraction`.
        batch_size: images that the network takes at once.
        ranks: the processes that share the rows; each calls this with the same arguments.
        listener: told what is made, how far it is and what is left of a stopped run.

    Raises:
        ConfigError, DataError: as `train` and `checkpoint_network`.
        StaleCacheError: a cache made from something else is there; each difference is named.
        CacheWriteError: the file cannot be written.
        LostRankError: another process of the run has ended.
        KeyboardInterrupt: stopped by a signal; its text says what is kept.
    """
    output = Path(output)
    listener = listener if ranks.is_first else NOBODY
    if request.has_trained_weights:
        network = checkpoint_network(
            request, features_alone=store == "features", ranks=ranks, listener=listener
        )
    else:
        network = _trained_network(request, output, ranks, listener)
    network = network.for_extraction(batch_norm, batch_size)
    writer = cache.CacheWriter(
        output,
        _cache_plan(network, num_views=views, store=store, dtype=dtype),
        overwrite=request.overwrite,
        resumable=True,
        resume=request.resume,
    )
    if ranks.of_first(output.exists() and not request.overwrite):
        is_new, num_rows_kept = False, writer.num_rows
        if ranks.is_first:
            stored = cache.open_cache(output).parts
            cache.require_same(stored, writer.plan.parts, where=str(output))
        ranks.meet()  # if the first process has refused it, the others fail here
    else:
        with threads_for(network.dataset):
            _write(writer, network, ranks, listener)
        is_new, num_rows_kept = True, writer.num_rows_kept
    is_first = is_new and ranks.is_first
    looked = tuple(map(str, last_look(cache.open_cache(output)))) if is_first else ()
    for warning in looked:
        listener.say(f"warning: {warning}")
    for line in describe_pictures(network.dataset):
        listener.say(line)
    return Extraction(
        path=output,
        is_new=is_new,
        num_rows=writer.num_rows,
        num_rows_kept=num_rows_kept,
        warnings=(*network.warnings, *looked),
    )


def _trained_network(
    request: PhaseOneRequest, output: Path, ranks: Ranks, listener: Listener
) -> Network:
    kept = output.with_suffix(".pt")
    request = after_first_stage(request, kept, ranks=ranks, listener=listener)
    plan = plan_training(request, ranks=ranks, listener=listener)
    with ranks.in_turn():
        if output.exists() and not request.overwrite:
            # Before hours of training: the cache that is there may have come of another one.
            stored = cache.open_cache(output).meta("config")
            if isinstance(stored, dict):
                cache.require_same(stored, plan.record().config, where=str(output))
    model = train_or_resume(plan, kept, request, ranks=ranks, listener=listener).model
    listener.say(f"checkpoint: {kept}")
    network = planned_network(plan, model, request)
    for warning in network.warnings:
        listener.say(f"warning: {warning}")
    return network


def _cache_plan(network: Network, *, num_views: int, store: Store, dtype: Dtype) -> cache.CachePlan:
    """What the cache of a network will hold."""
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
            batch_norm=network.batch_norm_of(name),
            batch_size=network.batch_size,
            framing=dataset.train.framing,
        )
        for name, plan in plans.items()
    }
    return cache.CachePlan(
        class_counts=dataset.class_counts,
        head=(
            cache.Head.from_linear(weight, bias, prior_counts=network.prior_counts)
            if network.has_head
            else None
        ),
        splits=plans,
        dtype=dtype,
        class_names=dataset.class_names,
        parts=_fingerprint_parts(network, transforms, store=store, dtype=dtype),
        meta={
            "config": network.config,
            "transforms": transforms,
            "indices": {name: rows.tolist() for name, rows in dataset.source_rows().items()},
            "provenance": {"dataset": dataset.name, "device": str(network.device)},
        },
        creator=CREATOR,
        libraries=library_versions(),
    )


def _fingerprint_parts(
    network: Network, transforms: dict[str, Any], *, store: str, dtype: str
) -> dict[str, Any]:
    """All that decides a cache's content: weights, images, order, transforms, precision."""
    state = network.model.state_dict()
    if not network.has_head:  # a drawn one, which has no part in the rows
        state = {name: value for name, value in state.items() if not name.startswith("head.")}
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


def _write(writer: cache.CacheWriter, network: Network, ranks: Ranks, listener: Listener) -> None:
    """This process's part of the cache; an end before the last row says what is kept."""
    try:
        with ExitStack() as files:
            with ranks.in_turn():  # the others open what the first one has laid out
                own = writer if ranks.is_first else writer.partner(ranks.rank)
                files.enter_context(own)
            if writer.num_rows_kept:
                listener.say(
                    f"{writer.path}: going on with {writer.num_rows_kept:,} of "
                    f"{writer.num_rows:,} rows kept from a stopped run"
                )
            ranks.meet()  # every process knows the blocks that are missing, before one is written
            if ranks.is_first:
                for name, split in network.dataset.splits.items():
                    writer.write_labels(name, split.labels.numpy())
                    if split.ids is not None:
                        writer.write_ids(name, split.ids)
            _write_blocks(own, network, ranks, listener)
            if not ranks.is_first:
                files.close()
            ranks.meet()  # every process has written its part
        ranks.meet()  # the file has its name
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(_left(writer)) from error
    except LostRankError:
        listener.say(f"stopped, as another process of the run has ended: {_left(writer)}")
        raise
    except Exception:
        if writer.num_rows_written:
            listener.say(_left(writer))
        raise


def _write_blocks(
    writer: cache.CacheWriter | cache.PartnerWriter,
    network: Network,
    ranks: Ranks,
    listener: Listener,
) -> None:
    """The process's share of the blocks that are not in the file, which are the same for all."""
    splits = writer.plan.splits
    missing = [
        (name, block)
        for name, plan in splits.items()
        for block in plan_blocks(
            plan.num_samples, num_views=len(plan.views), batch_size=network.batch_size
        )
        if not writer.has_block(name, view=block.view, start=block.start, stop=block.stop)
    ]
    own = ranks.share(missing)
    num_rows = sum(block.stop - block.start for _, block in own)
    num_bytes = writer.plan.num_bytes * num_rows // writer.num_rows
    together = f" in each of {ranks.size} processes" if ranks.size > 1 else ""
    forecast = Forecast(
        f"extracting {num_rows:,} rows{together} on {network.device}: {num_bytes / 1e6:,.1f} MB",
        num_rows=num_rows,
        say=listener.say,
    )
    progress = listener.progress("extracting rows")
    done = 0
    with deferred_interrupt() as interrupted:
        for name, group in groupby(own, key=lambda item: item[0]):
            plan = splits[name]
            for block, logits, features in extract_split(
                network.model,
                network.dataset.splits[name],
                views=plan.views,
                augmentation=network.augmentation,
                normalisation=network.dataset.normalisation,
                seed=network.seed,
                device=network.device,
                batch_norm=network.batch_norm_of(name),
                batch_size=network.batch_size,
                blocks=[block for _, block in group],
            ):
                writer.write_block(
                    name,
                    view=block.view,
                    start=block.start,
                    logits=logits if plan.has_logits else None,
                    features=None if plan.num_features is None else features,
                )
                done += len(logits)
                forecast(done)
                progress(done, num_rows)
                if interrupted():
                    raise KeyboardInterrupt


def _left(writer: cache.CacheWriter) -> str:
    """What a writer that has stopped leaves to the next one."""
    kept = writer.num_rows_written
    if not kept:
        return "no rows were written yet"
    return f"{kept:,} of {writer.num_rows:,} rows are kept, the same command goes on from there"
