"""`pipeline extract`: phase one, from images to a cache."""

from pathlib import Path
from typing import Any

import click

from pipeline import names
from pipeline.cli.command import command, json_option, note, print_json
from pipeline.cli.outputs import check_output, output_type
from pipeline.cli.phase_one_options import phase_one_options
from pipeline.cli.progress import ProgressLine


@command("extract")
@phase_one_options
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A trained network; without it one is trained and kept beside the cache.",
)
@click.option("--views", type=click.IntRange(min=0), default=4, help="Augmented training views.")
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
    store: Any,
    dtype: Any,
    output: Path,
    dry_run: bool,
    as_json: bool,
    **request: Any,
) -> None:
    """Run a backbone over all splits and write logits, features and labels to a cache.

    Trains the backbone first unless a --checkpoint is given, and keeps it under the cache's name
    with the suffix .pt.
    """
    from cache import open_cache
    from pipeline.cli.caching import extract_cache, refuse_other_training
    from pipeline.cli.estimate import (
        cache_bytes,
        extraction_seconds,
        plan_record,
        training_seconds,
    )
    from pipeline.cli.phase_one import (
        PhaseOneRequest,
        describe_plan,
        fresh_model,
        load_trained,
        plan_training,
        planned_network,
        train_or_resume,
    )
    from pipeline.device import resolve_device

    check_output(output, suffixes=(".h5", ".hdf5"))
    asked = PhaseOneRequest(**request)
    reading = ProgressLine("reading images")
    training = 0.0
    if checkpoint is not None:
        network = load_trained(checkpoint, asked, given=_given(context), progress=reading)
    else:
        device = resolve_device(asked.device)
        plan = plan_training(asked, progress=reading)
        for line in describe_plan(plan, device):
            note(line)
        if dry_run:
            model, training = fresh_model(plan), training_seconds(plan, device)
        else:
            if output.exists() and not asked.overwrite:
                refuse_other_training(output, plan.record().config)
            kept = output.with_suffix(".pt")
            model = train_or_resume(plan, kept, asked, progress=ProgressLine("training")).model
            note(f"checkpoint: {kept}")
        network = planned_network(plan, model, device)
    if dry_run:
        num_bytes = cache_bytes(network, num_views=views, store=store, dtype=dtype)
        seconds = training + extraction_seconds(network, num_views=views)
        note(f"would take about {seconds:.0f} s and write about {num_bytes:,} bytes")
        if as_json:
            record = plan_record(network, num_bytes=num_bytes, seconds=seconds)
            print_json({"command": "extract", **record})
        return
    written = extract_cache(
        output,
        network,
        num_views=views,
        store=store,
        dtype=dtype,
        overwrite=asked.overwrite,
    )
    if as_json:
        print_json(
            {
                "command": "extract",
                "cache": output,
                "fingerprint": open_cache(output).fingerprint,
                "written": written,
            }
        )
    note(f"{'wrote' if written else 'already there'}: {output}; next: pipeline rectify {output}")


def _given(context: click.Context) -> frozenset[str]:
    """Options that the user gave, on the command line or in a config file."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    default = click.core.ParameterSource.DEFAULT
    return frozenset(name for name, source in sources.items() if source is not default)
