"""`pipeline train`: the first half of phase one."""

from pathlib import Path
from typing import Any

import click

from pipeline.cli.command import command, json_option, note, print_json
from pipeline.cli.outputs import check_output, output_type
from pipeline.cli.phase_one_options import phase_one_options
from pipeline.cli.progress import ProgressLine


@command("train")
@phase_one_options
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Weights to start from, of this program or another.",
)
@click.option("-o", "--output", type=output_type, required=True, help="Checkpoint, .pt.")
@json_option
def cli_command(output: Path, dry_run: bool, as_json: bool, **request: Any) -> None:
    """Train a backbone on long-tailed images and write a checkpoint."""
    from pipeline.cli.estimate import checkpoint_bytes, plan_record, training_seconds
    from pipeline.cli.phase_one import (
        PhaseOneRequest,
        describe_plan,
        describe_skipped,
        plan_training,
        planned_network,
        train_or_resume,
    )
    from pipeline.device import resolve_device

    check_output(output)
    asked = PhaseOneRequest(**request)
    device = resolve_device(asked.device)
    plan = plan_training(asked, progress=ProgressLine("reading images"))
    for line in describe_plan(plan, device):
        note(line)
    if dry_run:
        model = plan.initial_model()
        seconds, num_bytes = training_seconds(plan, device), checkpoint_bytes(model)
        note(f"would take about {seconds:.0f} s and write about {num_bytes:,} bytes")
        if as_json:
            network = planned_network(plan, model, device)
            record = plan_record(network, num_bytes=num_bytes, seconds=seconds)
            print_json({"command": "train", **record})
        return
    trained = train_or_resume(plan, output, asked, progress=ProgressLine("training"))
    kept = trained.selected
    if as_json:
        print_json(
            {
                "command": "train",
                "checkpoint": output,
                "iterations": plan.recipe.iterations,
                "resumed_from": trained.resumed_from,
                "seconds": trained.seconds,
                "images_per_second": trained.images_per_second,
                "loss": trained.loss,
                "selected": kept
                and {"step": kept.step, "balanced_accuracy": kept.balanced_accuracy},
            }
        )
    for line in describe_skipped(plan.dataset):
        note(line)
    if kept is not None:
        accuracy = 100 * kept.balanced_accuracy
        note(f"kept: the weights of step {kept.step:,}, balanced accuracy {accuracy:.1f} on tune")
    done = "already trained" if trained.images_per_second is None else "wrote"
    note(f"{done}: {output}; next: pipeline extract --checkpoint {output} ...")
