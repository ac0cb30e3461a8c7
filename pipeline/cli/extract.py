"""`pipeline extract`: phase one, from images to a cache."""

from pathlib import Path
from typing import Any

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note, print_json, together
from marr_pipeline.cli.help import options_of
from marr_pipeline.cli.options import WordOrFile, input_type, json_option
from marr_pipeline.cli.outputs import check_outputs, output_option
from marr_pipeline.cli.phase_one_options import given_options, phase_one_options
from marr_pipeline.files import CACHE
from marr_pipeline.progress import ProgressLine
from marr_pipeline.workflows.request import Listener, PhaseOneRequest

of_network, of_cache = options_of("Network"), options_of("Cache")


@command("extract", example="pipeline extract --dataset digits-lt -o digits.h5")
@phase_one_options
@of_network(
    "--checkpoint",
    type=input_type,
    help="A trained network, of this program or another. Without it and without --pretrained one "
    "is trained and kept beside the cache.",
)
@of_network(
    "--by-order",
    expert=True,
    is_flag=True,
    help="Take the tensors of --checkpoint in their order, where names are another program's; all "
    "shapes must agree.",
)
@of_network(
    "--prior-counts",
    type=WordOrFile(names.PRIOR_COUNTS),
    help="Class counts of its training. Of another program's checkpoint; ours keep theirs.",
)
@of_cache("--views", type=click.IntRange(min=0), default=4, help="Augmented training views.")
@of_cache(
    "--bn",
    "batch_norm",
    expert=True,
    type=click.Choice(names.BATCH_NORMS),
    default="eval",
    help="Normalise training images by the statistics of training, or by those of each batch of "
    "images drawn at random, as the released code does while it fits.",
)
@of_cache(
    "--extract-batch-size",
    expert=True,
    type=click.IntRange(min=1),
    default=128,
    help="Images that the network takes at once; --batch-size is the training's.",
)
@of_cache("--store", type=click.Choice(names.STORES), default="both", help="Which outputs.")
@of_cache(
    "--dtype",
    expert=True,
    type=click.Choice(names.DTYPES),
    default="float32",
    help="Of stored numbers.",
)
@output_option(CACHE, ".h5", ".hdf5", required=True, help="Cache, .h5.")
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
    """Run a backbone over all splits and write its outputs to a cache.

    Without --checkpoint or --pretrained it trains first and keeps the .pt. Stopped, the same
    command goes on where it was. Under torchrun all share it.
    """
    plugins = options.pop("plugins")
    request = PhaseOneRequest(**options, given=given_options(context))

    from marr_pipeline.device import resolve_device
    from marr_pipeline.workflows.estimate import estimate_extraction
    from marr_pipeline.workflows.extract import extract
    from marr_pipeline.workflows.train import add_losses

    add_losses(plugins)
    listener = Listener(say=note, progress=ProgressLine)
    rows: dict[str, Any] = {"views": views, "store": store, "dtype": dtype}
    with together(resolve_device(request.device), sums=not request.has_trained_weights) as ranks:
        with ranks.in_turn():
            check_outputs()
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
