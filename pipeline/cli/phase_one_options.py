"""The options that `train` and `extract` share, under the names of `phase_one.PhaseOneRequest`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline import names

Function = TypeVar("Function", bound=Callable[..., Any])


class BackboneName(click.ParamType[str]):
    """A registered network, or one of a library that is looked up when it is built."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself."""
        library, _, inner = value.partition(":")
        if value not in names.BACKBONES and not (inner and library in names.BACKBONE_LIBRARIES):
            libraries = " or ".join(f"{library}:NAME" for library in names.BACKBONE_LIBRARIES)
            self.fail(
                f"one of {', '.join(names.BACKBONES)}, or {libraries}, expected, got {value}",
                param,
                ctx,
            )
        return value


class PriorCounts(click.ParamType[str]):
    """`train`, `uniform`, or a file that exists."""

    name = "counts"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word or the path itself."""
        if value not in names.PRIOR_COUNTS and not Path(value).is_file():
            words = ", ".join(names.PRIOR_COUNTS)
            self.fail(f"{words} or a file expected, got {value}, which does not exist", param, ctx)
        return value


DATA_OPTIONS = [
    click.option(
        "--dataset", type=click.Choice(names.DATASETS), required=True, help="Which images."
    ),
    click.option(
        "--data-root",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder of the images: train/ and test/ class folders, torchvision's layout, or where "
        "the paths of the lists begin.",
    ),
    *(
        click.option(
            f"--list-{split}",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help=f"List of the {split} images, `path label` or a CSV with the header path,label.  "
            "[default: the dataset's own under the data root]",
        )
        for split in names.SPLITS
    ),
    click.option(
        "--path-prefix",
        "path_prefixes",
        multiple=True,
        metavar="OLD=NEW",
        help="Beginning of listed paths that is another on disk; may be repeated.  "
        "[default: the known layouts are tried]",
    ),
    click.option(
        "--on-bad-image",
        type=click.Choice(names.ON_BAD_IMAGE),
        default="fail",
        help="A missing or broken image ends the run, or is left out and listed; to find them, "
        "skip reads every image once before.",
    ),
    click.option(
        "--imbalance-ratio",
        type=click.FloatRange(min=1),
        help="Largest class over smallest; subsamples the training images.  "
        "[default: 100 for CIFAR, 20 for digits-lt, none for the others]",
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
        help="Side in pixels that images in files are brought to; above 64 they are streamed.  "
        "[default: 32; 224 for imagenet-lt, places-lt, inaturalist2018]",
    ),
]

augmentation_option = click.option(
    "--augmentation",
    type=click.Choice(names.AUGMENTATIONS),
    help="Of training and of the cached views.  [default: the recipe's or the dataset's]",
)

OPTIONS = [
    *DATA_OPTIONS,
    click.option(
        "--backbone",
        type=BackboneName(),
        help=f"Network: {', '.join(names.BACKBONES)}, torchvision:NAME or timm:NAME.  "
        "[default: the dataset's; a foreign checkpoint's own where its tensors tell]",
    ),
    click.option(
        "--pretrained/--no-pretrained",
        default=None,
        help="Start from torchvision's ImageNet weights, head fresh.  [default: the recipe's; yes "
        "for places-lt alone]",
    ),
    click.option(
        "--new-head", is_flag=True, help="Take all of --checkpoint but its head; begin a fresh one."
    ),
    click.option("--recipe", type=click.Choice(names.RECIPES), default="default"),
    click.option(
        "--select-on",
        type=click.Choice(names.SELECT_ON),
        default="last",
        help="Keep the last weights, or those of the epoch with the best balanced accuracy on "
        "the tune split.",
    ),
    click.option(
        "--iterations", type=click.IntRange(min=1), help="Optimiser steps.  [default: the recipe's]"
    ),
    click.option("--epochs", type=click.IntRange(min=1), help="In place of --iterations."),
    click.option(
        "--batch-size", type=click.IntRange(min=1), help="Images a step.  [default: the recipe's]"
    ),
    augmentation_option,
    click.option("--device", type=click.Choice(names.DEVICES), default="auto"),
    click.option(
        "--workers",
        type=click.IntRange(min=0),
        help="Threads that decode small images, or processes that decode large ones (0: none but "
        "this one).  [default: one a core, up to 4 threads or 16 processes]",
    ),
    click.option(
        "--resume/--no-resume", default=True, help="Go on where a stopped run of the same ended."
    ),
    click.option("--overwrite", is_flag=True, help="Replace what another run has written."),
    click.option("--dry-run", is_flag=True, help="Resolve everything, write nothing."),
]


def data_options(function: Function) -> Function:
    """Decorator: add those that say which images and which seed."""
    return _add(DATA_OPTIONS, function)


def phase_one_options(function: Function) -> Function:
    """Decorator: add all of them."""
    return _add(OPTIONS, function)


def _add(options: Sequence[Callable[[Function], Function]], function: Function) -> Function:
    for option in reversed(options):
        function = option(function)
    return function
