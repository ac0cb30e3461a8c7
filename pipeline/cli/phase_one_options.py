"""The options that `train` and `extract` share, under the names of `phase_one.PhaseOneRequest`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline import names

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS = [
    click.option(
        "--dataset", type=click.Choice(names.DATASETS), required=True, help="Which images."
    ),
    click.option(
        "--data-root",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder of the images: train/ and test/ class folders, or torchvision's layout.",
    ),
    click.option(
        "--imbalance-ratio",
        type=click.FloatRange(min=1),
        help="Largest class over smallest; subsamples the training images.  "
        "[default: 100 for CIFAR, 20 for digits-lt, none for folder]",
    ),
    click.option("--data-seed", type=click.IntRange(min=0), default=0, help="Draws the subset."),
    click.option("--seed", type=click.IntRange(min=0), default=0, help="Of all other draws."),
    click.option(
        "--tune-fraction",
        type=click.FloatRange(min=0, max=1, max_open=True),
        default=0.0,
        help="Part of every training class held out as split `tune`.",
    ),
    click.option(
        "--image-size",
        type=click.IntRange(min=4),
        default=32,
        help="Side in pixels that the images of `folder` are brought to.",
    ),
    click.option(
        "--backbone", type=click.Choice(names.BACKBONES), help="Network.  [default: the dataset's]"
    ),
    click.option("--recipe", type=click.Choice(names.RECIPES), default="default"),
    click.option(
        "--iterations", type=click.IntRange(min=1), help="Optimiser steps.  [default: the recipe's]"
    ),
    click.option("--epochs", type=click.IntRange(min=1), help="In place of --iterations."),
    click.option(
        "--batch-size", type=click.IntRange(min=1), help="Images a step.  [default: the recipe's]"
    ),
    click.option(
        "--augmentation",
        type=click.Choice(names.AUGMENTATIONS),
        help="Of training and of the cached views.  [default: the recipe's or the dataset's]",
    ),
    click.option("--device", type=click.Choice(names.DEVICES), default="auto"),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Threads that decode images.  [default: one a core, up to 4]",
    ),
    click.option(
        "--resume/--no-resume", default=True, help="Go on from the checkpoint of a stopped run."
    ),
    click.option("--overwrite", is_flag=True, help="Replace what another run has written."),
    click.option("--dry-run", is_flag=True, help="Resolve everything, write nothing."),
]


def phase_one_options(function: Function) -> Function:
    """Decorator: add all of them."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
