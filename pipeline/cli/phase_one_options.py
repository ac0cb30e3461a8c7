"""The options that `train` and `extract` share, under the names of `phase_one.PhaseOneRequest`."""

from functools import partial

import click

from marr_pipeline import names
from marr_pipeline.cli.help import added, options_of
from marr_pipeline.cli.options import (
    FiniteRange,
    MethodName,
    input_folder_type,
    input_type,
    of_output,
    seed_type,
)

of_data, of_network, of_training = map(options_of, ("Data", "Network", "Training"))


def backbone_name(value: str) -> str:
    """The canonical name of a registered network, or of one of a library, looked up when built.

    Raises:
        click.BadParameter: neither.
    """
    library, _, inner = value.partition(":")
    if value not in names.BACKBONES and not (inner and library in names.BACKBONE_LIBRARIES):
        libraries = " or ".join(f"{library}:NAME" for library in names.BACKBONE_LIBRARIES)
        raise click.BadParameter(
            f"one of {', '.join(names.BACKBONES)}, or {libraries}, expected, got {value}"
        )
    return names.canonical_backbone(value)


DATA_OPTIONS = [
    of_data("--dataset", type=click.Choice(names.DATASETS), required=True, help="Which images."),
    of_data(
        "--data-root",
        type=input_folder_type,
        help="Folder of the images. It has class folders in train/ and test/, or torchvision's "
        "layout, or is where the relative paths of lists begin.",
    ),
    of_data(
        "--download",
        expert=True,
        is_flag=True,
        help="Fetch CIFAR into --data-root where it is not there. It is torchvision's layout.",
    ),
    *(
        of_data(
            f"--list-{split}",
            expert=split == "tune",
            type=input_type,
            help=f"List of {split} images, `path label` a line. Or a CSV with the header "
            "path,label; without it the dataset's own under the data root.",
        )
        for split in names.SPLITS
    ),
    of_data(
        "--path-prefix",
        "path_prefixes",
        expert=True,
        multiple=True,
        metavar="OLD=NEW",
        help="Beginning of listed paths that is another on disk; may be repeated.  "
        "[default: the known layouts are tried]",
    ),
    of_data(
        "--on-bad-image",
        expert=True,
        type=click.Choice(names.ON_BAD_IMAGE),
        default="fail",
        help="A missing or broken image ends the run, or is left out and listed; to find them, "
        "skip reads every image once before.",
    ),
    of_data(
        "--val-is",
        expert=True,
        type=click.Choice(names.VAL_IS),
        help="What a folder val/, valid/ or validation/ is for.  [default: tune beside a test "
        "folder, and to be said without one]",
    ),
    of_data(
        "--class-order",
        expert=True,
        type=input_type,
        help="Text file with a class a line, label 0 first: of class folders, or of labels that "
        "are names.  [default: sorted as text]",
    ),
    of_data(
        "--exif",
        expert=True,
        is_flag=True,
        help="Turn pictures as their EXIF tag says; else they are as stored.",
    ),
    of_data(
        "--pixel-range",
        expert=True,
        metavar="LOW,HIGH|own",
        help="Black and white of pictures of more than 8 bits; own is each one's least and largest "
        "value.  [default: 0,65535 for 16 bits; those of 32 are refused]",
    ),
    of_data(
        "--imbalance-ratio",
        type=FiniteRange(min=1),
        help="Largest class over smallest. Subsamples the training images.  [default: 100 for "
        "CIFAR; 20 for digits-lt; none for the others]",
    ),
    of_data(
        "--data-seed", expert=True, type=seed_type, default=0, help="Of the draw of the subset."
    ),
    of_data("--seed", type=seed_type, default=0, help="Of all draws but --data-seed's."),
    of_data(
        "--tune-fraction",
        type=FiniteRange(min=0, max=1, max_open=True),
        default=0.0,
        help="Part of each class held out as tune.",
    ),
    of_data(
        "--image-size",
        type=click.IntRange(min=4),
        help="Side in pixels that images are brought to. Of images in files, and for published "
        "weights of all; above 64 those in files are streamed.  [default: the backbone's; where it "
        "has none 32, and 224 for imagenet-lt, places-lt, inaturalist2018]",
    ),
]

augmentation_option = partial(
    of_training,
    "--augmentation",
    type=click.Choice(names.AUGMENTATIONS),
    help="Of training and of the cached views.  [default: the recipe's or the dataset's]",
)

OPTIONS = [
    *DATA_OPTIONS,
    of_network(
        "--backbone",
        type=backbone_name,
        metavar="NAME",
        help=f"{', '.join(names.BACKBONES)}, torchvision:NAME or timm:NAME.  "
        "[default: the dataset's; a foreign checkpoint's own where its tensors tell]",
    ),
    of_network(
        "--normalisation",
        metavar="NAME",
        help="Of the pixels in the network's training. One of "
        f"{names.OF_DATASET}, {', '.join(names.NORMALISATIONS)}, or MEAN/STD in numbers, such as "
        "0.5,0.5,0.5/0.2,0.2,0.2.  [default: the dataset's; of a timm network its own]",
    ),
    of_network(
        "--pretrained/--no-pretrained",
        default=None,
        help="Begin with published weights. train: torchvision's for ImageNet, with a fresh head; "
        "extract: what torchvision or timm publish for --backbone, nothing of which is trained, "
        "for --store features.  [default: the recipe's; a start for places-lt alone]",
    ),
    of_network(
        "--weights",
        expert=True,
        metavar="KEY",
        help="Which of several networks in another program's --checkpoint: a key above it, such as "
        "state_dict.  [default: averaged ones (ema), else the first]",
    ),
    of_network(
        "--new-head",
        expert=True,
        is_flag=True,
        help="Take all of --checkpoint but its head; begin a fresh one.",
    ),
    of_training(
        "--method",
        type=MethodName(names.TRAINING_METHODS),
        default="softmax",
        help="What is trained. A loss, a sampler, or a system with a network of its own.",
    ),
    of_training(
        "--plugin",
        "plugins",
        expert=True,
        type=input_type,
        multiple=True,
        is_eager=True,
        metavar="FILE.py",
        help="Python file with training losses of your own in a dict LOSSES, see "
        "docs/extending.md; may be repeated.",
    ),
    of_training(
        "--method-option",
        "method_options",
        expert=True,
        multiple=True,
        metavar="NAME=VALUE",
        help="An option of --method; may be repeated. An unknown name lists them.",
    ),
    of_training(
        "--recipe",
        type=click.Choice(names.RECIPES),
        default="default",
        help="Of steps, rates and augmentation.",
    ),
    of_training(
        "--select-on",
        expert=True,
        type=click.Choice(names.SELECT_ON),
        default="last",
        help="Keep the last weights, or those of the epoch with the best balanced accuracy on "
        "the tune split.",
    ),
    of_training(
        "--iterations",
        type=click.IntRange(1, names.MAX_ITERATIONS),
        help="Optimiser steps.  [default: the recipe's]",
    ),
    of_training(
        "--epochs", type=click.IntRange(1, names.MAX_ITERATIONS), help="In place of --iterations."
    ),
    of_training(
        "--batch-size", type=click.IntRange(min=1), help="Images a step.  [default: the recipe's]"
    ),
    of_training(
        "--weight-decay",
        expert=True,
        type=FiniteRange(min=0),
        help="Of every parameter.  [default: the recipe's]",
    ),
    of_training(
        "--mixing",
        expert=True,
        type=click.Choice(names.MIXINGS),
        help="Mix every image of a batch with another, by pixels or by a rectangle.  "
        "[default: the recipe's]",
    ),
    of_training(
        "--ema",
        expert=True,
        type=FiniteRange(min=0, max=1, max_open=True),
        metavar="DECAY",
        help="Keep an exponential average of the weights, such as 0.999; 0 keeps the last.  "
        "[default: the recipe's]",
    ),
    of_training(
        "--precision",
        expert=True,
        type=click.Choice(names.PRECISIONS),
        default="auto",
        help="Of the training's forward and backward pass; auto is bfloat16 where the hardware "
        "multiplies it, else float32.",
    ),
    of_training(
        "--channels-last/--no-channels-last",
        expert=True,
        default=True,
        help="Memory layout in training; faster on most hardware, and changes rounding alone.",
    ),
    of_training(
        "--compile", expert=True, is_flag=True, help="Train the network as torch.compile makes it."
    ),
    of_data(
        "--workers",
        expert=True,
        type=click.IntRange(min=0),
        help="Threads that decode small images, or processes that decode large ones (0: none but "
        "this one).  [default: one a core, up to 4 threads or 16 processes]",
    ),
    of_training(
        "--accumulate",
        expert=True,
        type=click.IntRange(min=1),
        default=1,
        help="Micro-batches that a step goes through one after the other, for want of memory; "
        "each is normalised by its own statistics.",
    ),
    augmentation_option(expert=True),
    of_network("--device", type=click.Choice(names.DEVICES), default="auto", help="Where it runs."),
    of_training(
        "--sync-bn/--no-sync-bn",
        expert=True,
        default=True,
        help="Under torchrun on GPUs, batch statistics of all processes together, as in one, or of "
        "each its own; on CPUs always of each its own.",
    ),
    of_output(
        "--resume/--no-resume",
        expert=True,
        default=True,
        help="Go on where a stopped run of the same ended.",
    ),
    of_output("--overwrite", is_flag=True, help="Replace what another run has written."),
    of_output("--dry-run", is_flag=True, help="Resolve everything, write nothing."),
]


def given_options(context: click.Context) -> frozenset[str]:
    """Options that the user gave, on the command line or in a config file."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    default = click.core.ParameterSource.DEFAULT
    return frozenset(name for name, source in sources.items() if source is not default)


data_options = added(*DATA_OPTIONS)
"""Decorator: those that say which images and which seed."""
phase_one_options = added(*OPTIONS)
"""Decorator: all of them."""
