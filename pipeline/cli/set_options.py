"""Options of what sets of labels are to hold."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from marr_pipeline import names
from marr_pipeline.cli.help import options_of

if TYPE_CHECKING:
    from marr_pipeline.workflows.sets import SetSettings


of_sets = options_of("Sets")


def set_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of what sets of labels are to hold; `chosen_sets` takes their values."""
    for option in (
        of_sets(
            "--interpolate",
            expert=True,
            type=click.FloatRange(0, 1),
            metavar="W",
            help="Of sets: 0 is one threshold for all, 1 one for each class.  [default: 0]",
        ),
        of_sets(
            "--score",
            type=click.Choice(names.SET_SCORES),
            help="Of sets: prevalence minds rare classes, softmax makes the smallest sets.  "
            "[default: prevalence]",
        ),
        of_sets(
            "--sets",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            metavar="COVERAGE",
            help="Sets that hold the true class that often, such as 0.9, calibrated on the split "
            "tune.",
        ),
    ):
        function = option(function)
    return function


def chosen_sets(
    coverage: float | None, score: str | None, interpolate: float | None
) -> "SetSettings | None":
    """The settings of sets, if they were asked for.

    Raises:
        click.UsageError: settings of sets that were not.
    """
    from marr_pipeline.workflows.sets import SetSettings

    given = {"score": score, "interpolate": interpolate}
    own = {name: value for name, value in given.items() if value is not None}
    if coverage is not None:
        return SetSettings(coverage=coverage, **own)  # type: ignore[arg-type]
    if own:
        raise click.UsageError(f"--{next(iter(own))}: --sets expected with it; give a coverage")
    return None
