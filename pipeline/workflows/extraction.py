"""The work of one process of an extraction: the blocks that are its own, one after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from marr_pipeline import cache
from marr_pipeline.backbone.extract import BatchNorm, BlockPlace, extract_split, plan_blocks
from marr_pipeline.distributed import Ranks, deferred_interrupt
from marr_pipeline.progress import ProgressLine, silent
from marr_pipeline.workflows.estimate import Forecast
from marr_pipeline.workflows.phase_one import Network


def unsaid(line: str) -> None:
    """The `say` of a process that does not speak."""


@dataclass(frozen=True, kw_only=True)
class ExtractionWork:
    """What is run, and who takes part.

    Attributes:
        network: every split of its dataset is extracted.
        batch_norm: whose statistics normalise.
        ranks: the processes that share the blocks.
        say: takes the lines for the user.
    """

    network: Network
    batch_norm: BatchNorm
    ranks: Ranks
    say: Callable[[str], None]


def write_as_first(writer: cache.CacheWriter, work: ExtractionWork) -> None:
    """Lay the cache out, write this process's part and seal the whole.

    Raises:
        CacheError: as `CacheWriter`.
        LostRankError: another process has ended.
        KeyboardInterrupt: a signal came; the block at hand is written.
    """
    with writer:
        if writer.num_rows_kept:
            work.say(
                f"{writer.path}: going on with {writer.num_rows_kept:,} of {writer.num_rows:,} "
                "rows kept from a stopped run"
            )
        work.ranks.meet()  # the file is laid out
        work.ranks.meet()  # every process knows the blocks that are missing, before one is written
        for name, split in work.network.dataset.splits.items():
            writer.write_labels(name, split.labels.numpy())
            if split.ids is not None:
                writer.write_ids(name, split.ids)
        _write_blocks(writer, work)
        work.ranks.meet()  # every process has written its part
    work.ranks.meet()  # the file has its name


def write_as_partner(writer: cache.CacheWriter, work: ExtractionWork) -> None:
    """Write this process's part of the cache that process 0 lays out and seals.

    Args:
        writer: made as in process 0, not entered.
        work: as in process 0.

    Raises:
        CacheError, LostRankError, KeyboardInterrupt: as `write_as_first`.
    """
    work.ranks.meet()
    with writer.partner(work.ranks.rank) as partner:
        work.ranks.meet()
        _write_blocks(partner, work)
    work.ranks.meet()
    work.ranks.meet()


def _write_blocks(writer: cache.CacheWriter | cache.PartnerWriter, work: ExtractionWork) -> None:
    network, ranks, splits = work.network, work.ranks, writer.plan.splits
    own = ranks.share(_missing_blocks(writer))
    num_rows = sum(place.stop - place.start for _, place in own)
    num_bytes = writer.plan.num_bytes * num_rows // writer.num_rows
    together = f" in each of {ranks.size} processes" if ranks.size > 1 else ""
    forecast = Forecast(
        f"extracting {num_rows:,} rows{together} on {network.device}: {num_bytes / 1e6:,.1f} MB",
        num_rows=num_rows,
        say=work.say,
    )
    progress = ProgressLine("extracting", unit=" rows") if ranks.is_first else silent
    done = 0
    with deferred_interrupt() as interrupted:
        for name, group in groupby(own, key=lambda item: item[0]):
            plan = splits[name]
            for block in extract_split(
                network.model,
                network.dataset.splits[name],
                views=plan.views,
                augmentation=network.augmentation,
                normalisation=network.dataset.normalisation,
                seed=network.seed,
                device=network.device,
                batch_norm=work.batch_norm,
                blocks=[place for _, place in group],
            ):
                writer.write_block(
                    name,
                    view=block.view,
                    start=block.start,
                    logits=block.logits if plan.has_logits else None,
                    features=None if plan.num_features is None else block.features,
                )
                done += len(block.logits)
                forecast(done)
                progress(done, num_rows)
                if interrupted():
                    raise KeyboardInterrupt


def _missing_blocks(
    writer: cache.CacheWriter | cache.PartnerWriter,
) -> list[tuple[str, BlockPlace]]:
    """Split and place of every block that is not in the file; the same in every process."""
    return [
        (name, place)
        for name, plan in writer.plan.splits.items()
        for place in plan_blocks(plan.num_samples, num_views=len(plan.views))
        if not writer.has_block(name, view=place.view, start=place.start, stop=place.stop)
    ]
