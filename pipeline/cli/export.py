"""`pipeline export`: a rectified model that runs without this program."""

from pathlib import Path

import click

from marr_pipeline.cli.command import command, note, print_json, warn
from marr_pipeline.cli.help import options_of
from marr_pipeline.cli.options import (
    FILE_OF_SHARES,
    WordOrFile,
    any_head_option,
    input_type,
    json_option,
    of_output,
    overwrite_option,
)
from marr_pipeline.cli.outputs import OutputPath, check_outputs, output_option
from marr_pipeline.files import GRAPH, MODEL
from marr_pipeline.names import CLASS_DISTRIBUTIONS
from marr_pipeline.progress import one_line

of_model = options_of("Model")


@command(
    "export",
    example="pipeline export --rectifier marr.safetensors --cache digits.h5 \\\n"
    "--checkpoint digits.pt -o rectified.pt",
)
@of_model("--rectifier", type=input_type, required=True, help="Written by `pipeline rectify -o`.")
@of_model(
    "--cache",
    type=input_type,
    help="That the rectifier was fitted on. It knows the head, the network, and rows to compare; a "
    "whole head without --checkpoint needs none.",
)
@of_model(
    "--checkpoint",
    type=input_type,
    help="The network that made the cache, of this program or another.  [default: none, the head "
    "alone]",
)
@of_model(
    "--weights",
    expert=True,
    metavar="KEY",
    help="Which of several networks in it, as for `pipeline extract`.",
)
@of_model(
    "--by-order", expert=True, is_flag=True, help="Take its tensors in their order, likewise."
)
@of_model(
    "--target-prior",
    type=WordOrFile(CLASS_DISTRIBUTIONS),
    help="Moves the logits to these class shares. They are those of the place where the model is "
    f"used. {FILE_OF_SHARES}  [default: logits stay]",
)
@any_head_option
@output_option(
    MODEL,
    help="The checkpoint with its head rectified. It has its own format and its own names; of a "
    "head alone it is a .safetensors of weight and bias.",
)
@of_output("--onnx", type=OutputPath(GRAPH, ".onnx"), help="A graph for ONNX Runtime and its like.")
@of_output(
    "--torch-export", type=OutputPath(GRAPH, ".pt2"), help="A program for torch.export.load."
)
@overwrite_option
@json_option
def cli_command(
    rectifier: Path,
    cache: Path | None,
    checkpoint: Path | None,
    weights: str | None,
    by_order: bool,
    target_prior: str | None,
    any_head: bool,
    output: Path | None,
    onnx: Path | None,
    torch_export: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a rectified model that runs without this program.

    What a rectifier does goes into the head: -o is the checkpoint that was given with two other
    tensors in it. What does not fold (disalign, features of length 1) goes into a graph. Every file
    is read again and compared with the rectifier, and none is left that differs.
    """
    from marr_pipeline.workflows.export import export

    check_outputs()
    done = export(
        rectifier,
        cache=cache,
        checkpoint=checkpoint,
        output=output,
        onnx=onnx,
        torch_export=torch_export,
        overwrite=overwrite,
        weights=weights,
        by_order=by_order,
        target_prior=target_prior,
        any_head=any_head,
    )
    warn(done.warnings)
    for line in done.notes:
        note(line)
    if as_json:
        print_json(done.record())
        return
    for each in done.compared:
        click.echo(one_line(str(each)))
