"""`pipeline train`: the first half of phase one."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline.cli.command import command, note, print_json, together
from marr_pipeline.cli.help import options_of
from marr_pipeline.cli.options import input_type, json_option
from marr_pipeline.cli.outputs import check_outputs, output_option
from marr_pipeline.cli.phase_one_options import given_options, phase_one_options
from marr_pipeline.files import CHECKPOINT
from marr_pipeline.progress import ProgressLine
from marr_pipeline.workflows.request import Listener, PhaseOneRequest

of_network = options_of("Network")


@command("train", example="pipeline train --dataset digits-lt -o digits.pt")
@phase_one_options
@of_network(
    "--checkpoint",
    type=input_type,
    help="Weights to start from, of this program or another.",
)
@output_option(CHECKPOINT, required=True, help="Checkpoint, .pt.")
@json_option
@click.pass_context
def cli_command(
    context: click.Context, /, output: Path, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Train a backbone on long-tailed images and write a checkpoint.

    Its course is written beside it, as .metrics.jsonl. Stopped, the same command goes on where it
    was. Under torchrun all processes share every batch.
    """
    plugins = options.pop("plugins")
    request = PhaseOneRequest(**options, given=given_options(context))

    from marr_pipeline.device import resolve_device
    from marr_pipeline.workflows.estimate import estimate_training
    from marr_pipeline.workflows.train import add_losses, train

    add_losses(plugins)
    listener = Listener(say=note, progress=ProgressLine)
    with together(resolve_device(request.device), sums=True) as ranks:
        with ranks.in_turn():
            check_outputs()
        if dry_run:
            estimate = estimate_training(request, output=output, ranks=ranks, listener=listener)
        else:
            trained = train(request, output=output, ranks=ranks, listener=listener)
    if not ranks.is_first:
        return
    document = estimate.record() if dry_run else trained.record()
    if as_json:
        print_json({"command": "train", **document})
    if dry_run:
        note(estimate.text)
    else:
        done = "already trained" if trained.images_per_second is None else "wrote"
        note(f"{done}: {output}; next: pipeline extract --checkpoint {output} ...")
