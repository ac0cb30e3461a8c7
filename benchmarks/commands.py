"""Whole commands on one cache, with passes compiled and by torch's operations.

    python benchmarks/commands.py --samples 10847 --classes 100

rectify    a fit with its calibration, scored and written
evaluate   the rectifier beside softmax, with intervals
compare    the default methods with paired tests
sweep      gamma from 0 to 1.6, nine fits
tune       `rectify --tune auto`

Each runs in this process, so that loading the program counts for none. The test rows are drawn from
the same classes, all of them equally common.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from click.testing import CliRunner
from harness import Work, as_written, output_option, ratio, repeat_option, report, side_by_side
from objectives import passes_by
from rows import SyntheticRows, rows_options

from marr_pipeline import cache
from marr_pipeline.cli import cli

COMMANDS = {
    "rectify": "rectify {cache} -o {folder}/marr.safetensors",
    "evaluate": "evaluate {cache} {folder}/marr.safetensors",
    "compare": "compare {cache}",
    "sweep": "sweep {cache} --gamma 0:1.6:0.2",
    "tune": "rectify {cache} --tune auto",
}


@click.command(help=as_written(__doc__))
@rows_options(samples=10_847, classes=100)
@click.option("--commands", default=",".join(COMMANDS), show_default=True)
@repeat_option
@output_option
def main(rows: SyntheticRows, commands: str, repeat: int, output: Path | None) -> None:
    """Run them in turn."""
    names = commands.split(",")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.h5"
        write(path, rows)
        works: dict[str, Work] = {}
        for name in names:
            arguments = [part.format(cache=path, folder=folder) for part in COMMANDS[name].split()]
            works[name] = lambda arguments=arguments: _run(arguments, "")
            works[f"{name}, torch's passes"] = lambda arguments=arguments: _run(arguments, "torch")
        measured = side_by_side(works, repeat=repeat, title="commands")
    report(
        "commands",
        measured,
        ratios={
            f"{name}, torch's passes / compiled": ratio(
                measured[f"{name}, torch's passes"], measured[name]
            )
            for name in names
        },
        output=output,
        rows=rows.record(),
    )


def write(path: Path, rows: SyntheticRows) -> None:
    """A cache with logits of train and test."""
    test = replace(rows, imbalance_ratio=1.0)
    plan = cache.CachePlan(
        class_counts=rows.class_counts.numpy(),
        head=cache.Head.from_linear(rows.weight.numpy(), rows.bias.numpy()),
        splits={
            "train": cache.SplitPlan(num_samples=rows.num_samples, views=("clean",)),
            "test": cache.SplitPlan(num_samples=test.num_samples, views=("clean",)),
        },
        dtype="float32",
        parts={"synthetic": rows.record()},
        meta={},
        creator="benchmarks/commands.py",
        libraries={},
    )
    with cache.CacheWriter(path, plan) as writer:
        for split, drawn in (("train", rows), ("test", test)):
            writer.write_labels(split, drawn.labels.numpy())
            for block, features, _ in drawn.blocks():
                logits = (features @ rows.weight.T + rows.bias).numpy()
                writer.write_block(split, view=0, start=block.start, logits=logits, features=None)


def _run(arguments: list[str], kernel: str) -> None:
    with passes_by(kernel):
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    if result.exit_code:
        raise click.ClickException(f"{' '.join(arguments)}: {result.output}")


if __name__ == "__main__":
    main()
