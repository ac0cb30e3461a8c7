"""`pipeline bench scaling`: how time grows with the number of rows and of classes."""

from typing import TYPE_CHECKING, Any

import click

from pipeline import names
from pipeline.bench.settings import BenchSettings, ScalingSettings
from pipeline.cli.bench.options import objective_options
from pipeline.cli.bench.steps import AnnouncedSteps
from pipeline.cli.command import command, json_option, note, print_json

if TYPE_CHECKING:
    from pipeline.bench.scaling import ScalingBench


def document(settings: ScalingSettings, bench: "ScalingBench") -> dict[str, Any]:
    """The JSON document of the command."""
    return {
        "command": "bench",
        "what": "scaling",
        "problem": {
            "source": "synthetic",
            "samples": settings.num_samples,
            "classes": settings.num_classes,
            "span": settings.span,
            "imbalance_ratio": settings.imbalance_ratio,
            "dtype": "float32",
            **settings.objective.document(),
        },
        **bench.document(),
    }


@command("scaling")
@click.option("--samples", type=int, default=20_000, help="The least N, and that of every K.")
@click.option("--classes", type=int, default=100, help="The least K, and that of every N.")
@click.option("--span", type=float, default=10.0, help="Largest over least size.")
@click.option("--points", type=int, default=3, help="Sizes from the least to the largest.")
@click.option("--imbalance-ratio", type=float, default=100.0, help="Of the synthetic rows.")
@objective_options(gap=1e-6)
@click.option("--device", type=click.Choice(names.DEVICES), default="cpu")
@json_option
def scaling_command(
    samples: int,
    classes: int,
    span: float,
    points: int,
    imbalance_ratio: float,
    device: str,
    as_json: bool,
    **objective: Any,
) -> None:
    """Time passes and whole fits as N grows at fixed K, and as K grows at fixed N.

    Linear growth has an exponent of 1. A fit takes as many passes as its loss needs, so its
    seconds a pass, which a fixed number of passes would take in proportion, stand beside it.
    """
    from pipeline.bench.scaling import run_scaling_bench
    from pipeline.cli.bench.scaling_table import scaling_table
    from pipeline.cli.bench.table import machine_line
    from pipeline.device import resolve_device

    settings = ScalingSettings(
        num_samples=samples,
        num_classes=classes,
        span=span,
        num_points=points,
        imbalance_ratio=imbalance_ratio,
        objective=BenchSettings(**objective),
    )
    bench = run_scaling_bench(settings, device=resolve_device(device), progress=AnnouncedSteps())
    if as_json:
        print_json(document(settings, bench))
        return
    note(machine_line(bench.machine))
    click.echo(scaling_table(bench))
