"""`pipeline demo`: the whole way on an embedded dataset, in the user's own commands."""

from pathlib import Path

import click

from marr_pipeline.cli.command import command, note
from marr_pipeline.cli.options import output_type, seed_type


@command("demo")
@click.option("-o", "--output", type=output_type, default=Path("marr-demo"), help="Folder.")
@click.option("--seed", type=seed_type, default=0, help="Of images and training.")
@click.pass_context
def cli_command(context: click.Context, output: Path, seed: int) -> None:
    """Train, extract, rectify and draw on handwritten digits: under a minute on two CPU cores."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from marr_pipeline.errors import PipelineError

        raise PipelineError(
            f"{output}: a folder expected, got: {error.strerror}; choose another -o"
        ) from error
    cache, rectifier = output / "digits.h5", output / "marr.safetensors"
    steps = [
        [
            *("extract", "--dataset", "digits-lt", "--data-seed", f"{seed}", "--seed", f"{seed}"),
            *("-o", f"{cache}", "--overwrite"),
        ],
        ["rectify", f"{cache}", "--optimizer", "lbfgs", "-o", f"{rectifier}"],
        ["plot", "curves", f"{cache}", f"{rectifier}", "-o", f"{output / 'curves.png'}"],
        ["plot", "confusion", f"{cache}", f"{rectifier}", "-o", f"{output / 'confusion.png'}"],
    ]
    group = context.find_root().command
    assert isinstance(group, click.Group)
    for step in steps:
        note(f"$ pipeline {' '.join(step)}")
        name, *arguments = step
        chosen = group.get_command(context, name)
        assert chosen is not None
        with chosen.make_context(name, arguments, parent=context) as child:
            chosen.invoke(child)
    note(f"all of it is in {output}; next: pipeline extract --dataset cifar10-lt --help")
