"""`pipeline extract`: phase one, from images to a cache."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, together
from marr_pipeline.cli.options import WordOrFile, check_output, input_type, json_option, output_type
from marr_pipeline.cli.phase_one_options import given_options, phase_one_options


@command("extract")
@phase_one_options
@click.option(
    "--checkpoint",
    type=input_type,
    help="A trained network, of this program or another; without it and without --pretrained one "
    "is trained and kept beside the cache.",
)
@click.option(
    "--by-order",
    is_flag=True,
    help="Take the tensors of --checkpoint in their order, where names are another program's; all "
    "shapes must agree.",
)
@click.option(
    "--prior-counts",
    type=WordOrFile(names.PRIOR_COUNTS),
    help="Images of each class that another program's checkpoint was trained on.",
)
@click.option("--views", type=click.IntRange(min=0), default=4, help="Augmented training views.")
@click.option(
    "--bn",
    "batch_norm",
    type=click.Choice(names.BATCH_NORMS),
    default="eval",
    help="Normalise by the statistics of training, or by each block's own as the released code.",
)
@click.option(
    "--extract-batch-size",
    type=click.IntRange(min=1),
    default=128,
    help="Images that the network takes at once; --batch-size is the training's.",
)
@click.option("--store", type=click.Choice(names.STORES), default="both")
@click.option("--dtype", type=click.Choice(names.DTYPES), default="float32")
@click.option("-o", "--output", type=output_type, required=True, help="Cache, .h5.")
@json_option
@click.pass_context
def cli_command(
    context: click.Context,
    /,
    views: int,
    batch_norm: Any,
    extract_batch_size: int,
    store: Any,
    dtype: Any,
    output: Path,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run a backbone over all splits and write logits, features and labels to a cache.

    Trains the backbone first unless --checkpoint or --pretrained is given, and keeps it under the
    cache's name with the suffix .pt. Stopped, the same command goes on where it was, row by row.
    Under torchrun all processes train and extract, and the first one prints.
    """
    from marr_pipeline.device import resolve_device
    from marr_pipeline.progress import ProgressLine
    from marr_pipeline.workflows.estimate import estimate_extraction
    from marr_pipeline.workflows.extract import extract
    from marr_pipeline.workflows.phase_one import Listener, PhaseOneRequest

    request = PhaseOneRequest(**options, given=given_options(context))
    listener = Listener(say=note, progress=ProgressLine)
    rows: dict[str, Any] = {"views": views, "store": store, "dtype": dtype}
    with together(resolve_device(request.device), sums=not request.has_trained_weights) as ranks:
        with ranks.in_turn():
            check_output(output, suffixes=(".h5", ".hdf5"), is_dry=dry_run)
        if dry_run:
            estimate = estimate_extraction(request, **rows, ranks=ranks, listener=listener)
        else:
            rows |= {"batch_norm": batch_norm, "batch_size": extract_batch_size}
            done = extract(request, output=output, **rows, ranks=ranks, listener=listener)
    if not ranks.is_first:
        return
    if dry_run:
        note(estimate.text)
        if as_json:
            print_json({"command": "extract", **estimate.record()})
        return
    if as_json:
        print_json(done.document())
    note(
        f"{'wrote' if done.is_new else 'already there'}: {output}; next: pipeline rectify {output}"
    )
