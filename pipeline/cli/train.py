"""`pipeline train`: the first half of phase one."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline.cli.command import command, note, print_json, together
from marr_pipeline.cli.options import check_output, input_type, json_option, output_type
from marr_pipeline.cli.phase_one_options import phase_one_options


@command("train")
@phase_one_options
@click.option(
    "--checkpoint",
    type=input_type,
    help="Weights to start from, of this program or another.",
)
@click.option("-o", "--output", type=output_type, required=True, help="Checkpoint, .pt.")
@json_option
def cli_command(output: Path, dry_run: bool, as_json: bool, **request: Any) -> None:
    """Train a backbone on long-tailed images and write a checkpoint.

    Its course is written beside it, in a file of the same name with the suffix .metrics.jsonl.
    Stopped, the same command goes on where it was. Under torchrun all processes share every batch,
    and the first one writes and prints.
    """
    from marr_pipeline.device import resolve_device
    from marr_pipeline.workflows.estimate import (
        checkpoint_bytes,
        describe_estimate,
        plan_record,
        training_seconds,
    )
    from marr_pipeline.workflows.extraction import unsaid
    from marr_pipeline.workflows.phase_one import PhaseOneRequest, describe_skipped, planned_network
    from marr_pipeline.workflows.train import (
        requested_execution,
        settle_plan,
        train_or_resume,
        training_record,
    )

    asked = PhaseOneRequest(**request)
    device = resolve_device(asked.device)
    with together(device, sums=True) as ranks:
        say = note if ranks.is_first else unsaid
        with ranks.in_turn():
            check_output(output)
        plan = settle_plan(asked, ranks=ranks, say=say)
        if dry_run:
            execution = requested_execution(asked, ranks=ranks)
            seconds = training_seconds(plan, device, execution=execution)
        else:
            trained = train_or_resume(plan, output, asked, ranks=ranks, say=say)
    if not ranks.is_first:
        return
    if dry_run:
        model = plan.initial_model()
        num_bytes = checkpoint_bytes(model)
        note(describe_estimate(num_bytes=num_bytes, seconds=seconds))
        if as_json:
            network = planned_network(plan, model, device)
            record = plan_record(network, num_bytes=num_bytes, seconds=seconds)
            print_json({"command": "train", **record})
        return
    if as_json:
        print_json({"command": "train", **training_record(trained, plan)})
    for line in describe_skipped(plan.dataset):
        note(line)
    done = "already trained" if trained.images_per_second is None else "wrote"
    note(f"{done}: {output}; next: pipeline extract --checkpoint {output} ...")
