"""`pipeline demo`: the whole way on embedded data, in the user's own commands."""

from pathlib import Path

import click

from marr_pipeline.cli.command import command, note
from marr_pipeline.cli.help import option
from marr_pipeline.cli.options import overwrite_option, seed_type
from marr_pipeline.cli.outputs import output_option
from marr_pipeline.cli.phase_one_options import given_options
from marr_pipeline.files import CACHE, CHECKPOINT, check_replaceable

LONG_TAIL = ("--imbalance-ratio", "100", "--iterations", "120")
"""Of the digits: chosen on seeds 100 to 104, shown on others (`results/demo-digits.md`)."""


@command("demo", example="pipeline demo -o marr-demo")
@output_option(None, default=Path("marr-demo"), help="Folder.")
@option(
    "--cached", is_flag=True, help="Begin with cached logits of CIFAR-10-LT; nothing is trained."
)
@overwrite_option
@option("--seed", type=seed_type, default=0, help="Of images and training.")
@click.pass_context
def cli_command(
    context: click.Context, output: Path, overwrite: bool, cached: bool, seed: int
) -> None:
    """Go the whole way on handwritten digits, in under a minute.

    By the commands that it prints it trains, extracts, rectifies, draws and reports. It ends in a
    page, report.html, and the words that it begins with.
    """
    if cached and "seed" in given_options(context):
        raise click.UsageError(
            "--seed: the digits expected, got --cached, which trains nothing; leave one out"
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from marr_pipeline.errors import PipelineError

        raise PipelineError(
            f"{output}: a folder expected, got: {error.strerror}; choose another -o"
        ) from error
    cache = output / ("cifar10-lt.h5" if cached else "digits.h5")
    rectifier = output / "marr.safetensors"
    files = (f"{cache}", f"{rectifier}")
    if cached:
        from marr_pipeline.workflows.demo import write_embedded_cache

        write_embedded_cache(cache, overwrite=overwrite)
        note(f"{cache}: logits of a ResNet-32 that this program trained on CIFAR-10-LT, ratio 100")
        first = ["verify", f"{cache}"]
    else:
        for path, product in ((cache, CACHE), (cache.with_suffix(".pt"), CHECKPOINT)):
            check_replaceable(path, product, overwrite=overwrite)
        first = [
            *("extract", "--dataset", "digits-lt", *LONG_TAIL),
            *("--data-seed", f"{seed}", "--seed", f"{seed}", "-o", f"{cache}", "--overwrite"),
        ]
    steps = [
        first,
        ["rectify", f"{cache}", "--optimizer", "lbfgs", "-o", f"{rectifier}"],
        ["plot", "curves", *files, "-o", f"{output / 'curves.png'}"],
        ["plot", "confusion", *files, "-o", f"{output / 'confusion.png'}"],
        ["report", *files, "-o", f"{output / 'report.html'}"],
    ]
    if overwrite:
        steps = [first, *([*step, "--overwrite"] for step in steps[1:])]
    group = context.find_root().command
    assert isinstance(group, click.Group)
    for step in steps:
        note(f"$ pipeline {' '.join(step)}")
        name, *arguments = step
        chosen = group.get_command(context, name)
        assert chosen is not None
        with chosen.make_context(name, arguments, parent=context) as child:
            chosen.invoke(child)
    note(f"all of it is in {output}; open {output / 'report.html'}")
