"""`pipeline extract`: phase one, from images to a cache."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import names
from pipeline.cli import EXIT_FAILED, EXIT_INTERRUPTED
from pipeline.cli.command import command, json_option, note, print_json, warn
from pipeline.cli.outputs import check_output, output_type
from pipeline.cli.phase_one_options import PriorCounts, phase_one_options
from pipeline.cli.progress import ProgressLine

if TYPE_CHECKING:
    from pipeline.cli.phase_one import Network, PhaseOneRequest
    from pipeline.distributed import Ranks

PATIENCE = timedelta(days=30)
"""The other processes wait for the first one while it trains."""


@command("extract")
@phase_one_options
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A trained network, of this program or another; without it one is trained and kept "
    "beside the cache.",
)
@click.option(
    "--prior-counts",
    type=PriorCounts(),
    metavar="FILE|train|uniform",
    help="Images of each class that another program's checkpoint was trained on.",
)
@click.option("--views", type=click.IntRange(min=0), default=4, help="Augmented training views.")
@click.option(
    "--bn",
    "batch_norm",
    type=click.Choice(names.BATCH_NORMS),
    default="eval",
    help="Normalise by the statistics of training, or by each block's own as the released code.",
)
@click.option("--store", type=click.Choice(names.STORES), default="both")
@click.option("--dtype", type=click.Choice(names.DTYPES), default="float32")
@click.option("-o", "--output", type=output_type, required=True, help="Cache, .h5.")
@json_option
@click.pass_context
def cli_command(
    context: click.Context,
    /,
    checkpoint: Path | None,
    views: int,
    batch_norm: Any,
    store: Any,
    dtype: Any,
    output: Path,
    dry_run: bool,
    as_json: bool,
    **request: Any,
) -> None:
    """Run a backbone over all splits and write logits, features and labels to a cache.

    Trains the backbone first unless a --checkpoint is given, and keeps it under the cache's name
    with the suffix .pt. Stopped, the same command goes on where it was, row by row. Under torchrun
    the first process trains, all of them extract, and the first one prints.
    """
    from cache import open_cache
    from pipeline.cli.caching import extract_cache
    from pipeline.cli.extraction import unsaid
    from pipeline.cli.phase_one import PhaseOneRequest, describe_skipped
    from pipeline.device import resolve_device
    from pipeline.distributed import LostRankError, joined_ranks

    check_output(output, suffixes=(".h5", ".hdf5"))
    asked = PhaseOneRequest(checkpoint=checkpoint, **request)
    if dry_run:
        _dry_run(context, asked, checkpoint, views, store, dtype, as_json=as_json)
        return
    device = resolve_device(asked.device)
    with joined_ranks(device, sums=False, patience=PATIENCE) as ranks:
        try:
            network = _network(context, asked, checkpoint, output, ranks)
            extraction = extract_cache(
                output,
                network,
                num_views=views,
                store=store,
                dtype=dtype,
                overwrite=asked.overwrite,
                batch_norm=batch_norm,
                resume=asked.resume,
                ranks=ranks,
                say=note if ranks.is_first else unsaid,
            )
        except LostRankError as error:
            # Not an error of this process: the one that ended has said why.
            raise click.exceptions.Exit(EXIT_FAILED) from error
        except KeyboardInterrupt as error:
            if ranks.is_first:
                raise
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from error
    if not ranks.is_first:
        return
    if as_json:
        print_json(
            {
                "command": "extract",
                "cache": output,
                "fingerprint": open_cache(output).fingerprint,
                "written": extraction.is_new,
                "rows": extraction.num_rows,
                "rows_kept": extraction.num_rows_kept,
                "warnings": network.warnings,
            }
        )
    for line in describe_skipped(network.dataset):
        note(line)
    done = "wrote" if extraction.is_new else "already there"
    note(f"{done}: {output}; next: pipeline rectify {output}")


def _network(
    context: click.Context,
    asked: "PhaseOneRequest",
    checkpoint: Path | None,
    output: Path,
    ranks: "Ranks",
) -> "Network":
    """The trained network: process 0 comes to it first, the others then read what it left."""
    from pipeline.cli.trained import load_trained

    if not ranks.is_first:
        ranks.meet()
        if checkpoint is None:
            return load_trained(_own_checkpoint(output), asked, given=frozenset())
        return load_trained(checkpoint, asked, given=_given(context))
    if checkpoint is None:
        network = _train(asked, output)
    else:
        reading = ProgressLine("reading images")
        network = load_trained(checkpoint, asked, given=_given(context), progress=reading)
        warn((*network.dataset.warnings, *network.warnings))
    ranks.meet()
    return network


def _train(asked: "PhaseOneRequest", output: Path) -> "Network":
    from pipeline.cli.caching import refuse_other_training
    from pipeline.cli.phase_one import (
        describe_plan,
        plan_training,
        planned_network,
        train_or_resume,
    )
    from pipeline.device import resolve_device

    device = resolve_device(asked.device)
    plan = plan_training(asked, progress=ProgressLine("reading images"))
    for line in describe_plan(plan, device):
        note(line)
    if output.exists() and not asked.overwrite:
        refuse_other_training(output, plan.record().config)
    kept = _own_checkpoint(output)
    model = train_or_resume(plan, kept, asked, progress=ProgressLine("training")).model
    note(f"checkpoint: {kept}")
    return planned_network(plan, model, device)


def _dry_run(
    context: click.Context,
    asked: "PhaseOneRequest",
    checkpoint: Path | None,
    views: int,
    store: str,
    dtype: str,
    *,
    as_json: bool,
) -> None:
    """Resolve everything, say what it would take, write nothing."""
    from pipeline.cli.estimate import (
        cache_bytes,
        extraction_seconds,
        plan_record,
        training_seconds,
    )
    from pipeline.cli.phase_one import (
        describe_plan,
        plan_training,
        planned_network,
    )
    from pipeline.cli.trained import load_trained
    from pipeline.device import resolve_device

    reading = ProgressLine("reading images")
    training = 0.0
    if checkpoint is not None:
        network = load_trained(checkpoint, asked, given=_given(context), progress=reading)
        warn((*network.dataset.warnings, *network.warnings))
    else:
        device = resolve_device(asked.device)
        plan = plan_training(asked, progress=reading)
        for line in describe_plan(plan, device):
            note(line)
        training = training_seconds(plan, device)
        network = planned_network(plan, plan.initial_model(), device)
    num_bytes = cache_bytes(network, num_views=views, store=store, dtype=dtype)
    seconds = training + extraction_seconds(network, num_views=views)
    note(f"would take about {seconds:.0f} s and write about {num_bytes:,} bytes")
    if as_json:
        record = plan_record(network, num_bytes=num_bytes, seconds=seconds)
        print_json({"command": "extract", **record})


def _own_checkpoint(output: Path) -> Path:
    """Where the network that was trained for a cache is kept."""
    return output.with_suffix(".pt")


def _given(context: click.Context) -> frozenset[str]:
    """Options that the user gave, on the command line or in a config file."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    default = click.core.ParameterSource.DEFAULT
    return frozenset(name for name, source in sources.items() if source is not default)
