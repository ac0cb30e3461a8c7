"""`pipeline extract`: phase one, from images to a cache."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, together, warn
from marr_pipeline.cli.options import WordOrFile, check_output, input_type, json_option, output_type
from marr_pipeline.cli.phase_one_options import phase_one_options
from marr_pipeline.progress import ProgressLine

if TYPE_CHECKING:
    from marr_pipeline.distributed import Ranks
    from marr_pipeline.workflows.phase_one import Network, PhaseOneRequest


@command("extract")
@phase_one_options
@click.option(
    "--checkpoint",
    type=input_type,
    help="A trained network, of this program or another; without it one is trained and kept "
    "beside the cache.",
)
@click.option(
    "--prior-counts",
    type=WordOrFile(names.PRIOR_COUNTS),
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
    all processes train and extract, and the first one prints.
    """
    from marr_pipeline.cache import open_cache
    from marr_pipeline.device import resolve_device
    from marr_pipeline.workflows.extract import extract_cache
    from marr_pipeline.workflows.extraction import unsaid
    from marr_pipeline.workflows.phase_one import PhaseOneRequest, describe_skipped

    asked = PhaseOneRequest(checkpoint=checkpoint, **request)
    with together(resolve_device(asked.device), sums=checkpoint is None) as ranks:
        say = note if ranks.is_first else unsaid
        with ranks.in_turn():
            check_output(output, suffixes=(".h5", ".hdf5"))
        if dry_run:
            _dry_run(context, asked, checkpoint, views, store, dtype, ranks, as_json=as_json)
            return
        network = _network(context, asked, checkpoint, output, ranks, say)
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
            say=say,
        )
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
    say: Callable[[str], None],
) -> "Network":
    """The trained network and its images; the first process comes to it before the others."""
    if checkpoint is None:
        return _train(asked, output, ranks, say)
    return _load(context, asked, checkpoint, ranks, say)


def _train(
    asked: "PhaseOneRequest", output: Path, ranks: "Ranks", say: Callable[[str], None]
) -> "Network":
    from marr_pipeline.device import resolve_device
    from marr_pipeline.workflows.extract import refuse_other_training
    from marr_pipeline.workflows.phase_one import planned_network
    from marr_pipeline.workflows.train import settle_plan, train_or_resume

    plan = settle_plan(asked, ranks=ranks, say=say)
    with ranks.in_turn():
        if output.exists() and not asked.overwrite:
            refuse_other_training(output, plan.record().config)
    kept = _own_checkpoint(output)
    model = train_or_resume(plan, kept, asked, ranks=ranks, say=say).model
    say(f"checkpoint: {kept}")
    return planned_network(plan, model, resolve_device(asked.device))


def _load(
    context: click.Context,
    asked: "PhaseOneRequest",
    checkpoint: Path,
    ranks: "Ranks",
    say: Callable[[str], None],
) -> "Network":
    from marr_pipeline.progress import silent
    from marr_pipeline.workflows.phase_one import describe_network
    from marr_pipeline.workflows.trained import load_trained

    reading = ProgressLine("reading images") if ranks.is_first else silent
    with ranks.in_turn():
        network = load_trained(checkpoint, asked, given=_given(context), progress=reading)
    say(describe_network(network))
    if ranks.is_first:
        warn((*network.dataset.warnings, *network.warnings))
    return network


def _dry_run(
    context: click.Context,
    asked: "PhaseOneRequest",
    checkpoint: Path | None,
    views: int,
    store: str,
    dtype: str,
    ranks: "Ranks",
    *,
    as_json: bool,
) -> None:
    """Resolve everything, say what it would take, write nothing."""
    from marr_pipeline.device import resolve_device
    from marr_pipeline.workflows.estimate import (
        cache_bytes,
        describe_estimate,
        extraction_seconds,
        plan_record,
        training_seconds,
    )
    from marr_pipeline.workflows.extraction import unsaid
    from marr_pipeline.workflows.phase_one import planned_network
    from marr_pipeline.workflows.train import requested_execution, settle_plan

    training, say = 0.0, note if ranks.is_first else unsaid
    if checkpoint is not None:
        network = _load(context, asked, checkpoint, ranks, say)
    else:
        device, execution = resolve_device(asked.device), requested_execution(asked, ranks=ranks)
        plan = settle_plan(asked, ranks=ranks, say=say)
        training = training_seconds(plan, device, execution=execution)
        network = planned_network(plan, plan.initial_model(), device)
    if not ranks.is_first:
        return
    num_bytes = cache_bytes(network, num_views=views, store=store, dtype=dtype)
    seconds = training + extraction_seconds(network, num_views=views) / ranks.size
    note(describe_estimate(num_bytes=num_bytes, seconds=seconds))
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
