"""Options that several benches share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pipeline import names
from pipeline.cli.inputs import input_folder_type
from pipeline.cli.phase_one_options import BackboneName

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_SAMPLES, DEFAULT_CLASSES = 10_847, 100
"""Of CIFAR-100-LT at imbalance ratio 100."""
DEFAULT_IMBALANCE_RATIO = 100.0


folder_option = click.option(
    "--folder",
    type=input_folder_type,
    help="Where the measured file lies while it is needed.  [default: the temporary folder]",
)

views_option = click.option(
    "--fit-views",
    "views",
    type=click.Choice(names.FIT_VIEWS),
    default="augmented",
    help="Of CACHE.",
)


def objective_options(*, gap: float) -> Callable[[Function], Function]:
    """Decorator: what is fitted, how near and how often, under the names of `BenchSettings`."""
    options = [
        click.option("--gamma", type=float, default=1.2, help="Exponent of the class weights."),
        click.option("--l2", type=float, default=0.01, help="Ridge, above 0."),
        click.option("--center", type=click.Choice(names.CENTERS), default="zero"),
        click.option("--reduction", type=click.Choice(names.REDUCTIONS), default="weighted"),
        click.option(
            "--gap", type=float, default=gap, help="Distance to the least loss to arrive at."
        ),
        click.option("--repeat", type=int, default=5, help="Timed runs, after one that warms up."),
        click.option(
            "--seed", type=click.IntRange(min=0), default=0, help="Of synthetic rows and sgd."
        ),
    ]
    return _adding(options)


def image_options(function: Function) -> Function:
    """Decorator: images, network and device, under the names of `images.ImageRequest`."""
    options = [
        click.option(
            "--dataset", type=click.Choice(names.DATASETS), help="Its images.  [default: synthetic]"
        ),
        click.option("--data-root", type=input_folder_type, help="Folder of the dataset's images."),
        click.option(
            "--imbalance-ratio", type=click.FloatRange(min=1), help="Of the dataset's subset."
        ),
        click.option("--samples", type=int, help="N of synthetic images.  [default: 4,096]"),
        click.option("--classes", type=int, help="K of synthetic images.  [default: 100]"),
        click.option("--image-size", type=int, help="Side of synthetic images.  [default: 32]"),
        click.option(
            "--backbone", type=BackboneName(), help="As for extract.  [default: the dataset's]"
        ),
        click.option(
            "--augmentation",
            type=click.Choice(names.AUGMENTATIONS),
            help="Of the views.  [default: the recipe's or the dataset's]",
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, help="Of everything drawn."),
        click.option("--device", type=click.Choice(names.DEVICES), default="auto"),
    ]
    return _adding(options)(function)


def shape_options(function: Function) -> Function:
    """Decorator: N, K and imbalance ratio of synthetic rows; None where not given."""
    options = [
        click.option(
            "--samples", type=int, help=f"N of synthetic rows.  [default: {DEFAULT_SAMPLES:,}]"
        ),
        click.option(
            "--classes", type=int, help=f"K of synthetic rows.  [default: {DEFAULT_CLASSES}]"
        ),
        click.option(
            "--imbalance-ratio",
            type=float,
            help=f"Of synthetic rows.  [default: {DEFAULT_IMBALANCE_RATIO:g}]",
        ),
    ]
    return _adding(options)(function)


def _adding(options: list[Callable[[Function], Function]]) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add
