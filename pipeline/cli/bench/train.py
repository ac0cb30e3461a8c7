"""`pipeline bench train`: the training loop beside bare steps, and where its time goes."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from pipeline.bench.settings import TrainSettings
from pipeline.cli.bench.options import folder_option, image_options
from pipeline.cli.command import command, json_option, note, print_json
from pipeline.cli.phase_one_options import step_options

if TYPE_CHECKING:
    from pipeline.bench.machine import Machine
    from pipeline.bench.training import TrainingBench
    from pipeline.cli.bench.training import TrainRequest


@dataclass(frozen=True, kw_only=True)
class BenchedTraining:
    """Everything that `pipeline bench train` measured, and on what.

    Attributes:
        problem: images, network, recipe and precision.
        machine: what it was measured on.
        training: images a second.
    """

    problem: dict[str, Any]
    machine: "Machine"
    training: "TrainingBench"

    def document(self) -> dict[str, Any]:
        """The JSON document of the command."""
        return {
            "command": "bench",
            "what": "train",
            "problem": self.problem,
            "machine": self.machine,
            "training": self.training.document(),
        }


def bench_train(
    request: "TrainRequest", settings: TrainSettings, *, folder: Path | None
) -> BenchedTraining:
    """Train for a few steps, turn by turn, beside bare steps; the checkpoints are thrown away.

    Args:
        request: images, network and how it trains.
        settings: how many steps, and how often.
        folder: where the checkpoints lie; None for the system's folder of temporary files.

    Raises:
        ConfigError: options that contradict each other, or one out of its range.
        DataError: the images cannot be used.
        PipelineError: a checkpoint cannot be written.
    """
    from pipeline.bench.machine import machine
    from pipeline.bench.training import measure_training
    from pipeline.cli.bench.training import (
        bare_step,
        first_batch,
        training_loop,
        training_plan,
        training_request,
    )
    from pipeline.cli.training import requested_execution
    from pipeline.device import dtype_name, resolve_device

    device = resolve_device(request.device)
    plan = training_plan(request, settings)
    execution = requested_execution(training_request(request, settings))
    batch = first_batch(plan, device=device)
    with TemporaryDirectory(dir=folder, prefix="pipeline-bench-") as name:
        checkpoint = Path(name) / "network.pt"
        training = measure_training(
            bare_step(plan, execution, batch, device=device),
            training_loop(plan, execution, batch, checkpoint=checkpoint, device=device),
            settings,
            device=device,
        )
    dataset, recipe = plan.dataset, plan.recipe
    return BenchedTraining(
        problem={
            "dataset": dataset.name,
            "images": len(dataset.train),
            "image_size": list(dataset.train.image_shape),
            "classes": dataset.num_classes,
            "backbone": plan.backbone,
            "batch_size": recipe.batch_size,
            "augmentation": recipe.augmentation,
            "precision": dtype_name(plan.precision),
            "channels_last": execution.channels_last,
            "compile": execution.compile,
            "steps": recipe.iterations,
            "seed": plan.seed,
        },
        machine=machine(device),
        training=training,
    )


@command("train")
@image_options
@step_options
@click.option("--steps", type=int, default=16, help="Of a turn.")
@click.option("--repeat", type=int, default=3, help="Timed turns, after one that warms up.")
@folder_option
@json_option
def train_command(
    steps: int, repeat: int, folder: Path | None, as_json: bool, **request: Any
) -> None:
    """Time the training loop beside bare steps on one batch, and the parts of a step.

    A bare step is forward, backward and update on a normalised batch that stays in memory. Ours
    goes from a fresh network to its checkpoint, as train does: images, augmentation,
    normalisation, schedule and reports.
    """
    from pipeline.cli.bench.table import machine_line
    from pipeline.cli.bench.training import TrainRequest
    from pipeline.cli.bench.training_table import training_table

    settings = TrainSettings(steps=steps, repeat=repeat)
    found = bench_train(TrainRequest(**request), settings, folder=folder)
    if as_json:
        print_json(found.document())
        return
    note(machine_line(found.machine))
    click.echo(training_table(found.training, batch_size=found.problem["batch_size"]))
