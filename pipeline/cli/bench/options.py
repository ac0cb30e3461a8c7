"""Options that several benches share, and the context they run in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline import names

Function = TypeVar("Function", bound=Callable[..., Any])

CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"]}
DEFAULT_SAMPLES, DEFAULT_CLASSES = 10_847, 100
"""Of CIFAR-100-LT at imbalance ratio 100."""
DEFAULT_IMBALANCE_RATIO = 100.0


folder_option = click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the measured file lies while it is needed.  [default: the temporary folder]",
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
