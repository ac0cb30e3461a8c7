"""Every record of a quiet machine's speed in one go, in some eight minutes on two cores.

    python benchmarks/records.py -o results

Nothing else may compute meanwhile: a load above 0.5 before the first benchmark is refused, and what
it was is in each record. One script after the other, each as its command line says, writes
`quiet-NAME.json`. Threads of OpenMP sleep while they wait, as every command of the program has it:
where they spin, they take the cores from a fit's own threads (10,847 x 100: 74 ms in place of 46).
The file of iNaturalist's size takes 7.1 GB of the disk, and as much memory for
its pages.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import click
from harness import as_written

LARGE = "--samples 115846 --classes 1000 --imbalance-ratio 256"
STREAMED = "--samples 437513 --classes 8142 --imbalance-ratio 500"
RECORDS = {
    "passes": f"passes {LARGE} --repeat 5",
    "fits-l2-5e-4": "fits --gap 1e-8 --repeat 7 --l2 5e-4 --center zero",
    "fits-default": "fits --gap 1e-8 --repeat 5",
    "fits-temperature": "fits --gap 1e-8 --repeat 9 --method temperature --preset default",
    "fits-115846x1000": f"fits {LARGE} --l2 0.01 --center zero --rivals= --repeat 5",
    "fits-115846x1000-torch": (
        f"fits {LARGE} --l2 0.01 --center zero --rivals torch-float32 --repeat 1"
    ),
    "files-437513x8142": f"files {STREAMED} --l2 0.01 --memory 0 --repeat 1 --batches 5",
    "training": "training --batch-size 128 --steps 20 --augmentation autoaugment-cutout --repeat 3",
    "commands": "commands --commands rectify,evaluate,compare,sweep --repeat 3",
    "tune": "commands --commands tune --repeat 1",
}
QUIET = 0.5
"""Processes at work in the last minute."""


@click.command(help=as_written(__doc__))
@click.option("--only", multiple=True, type=click.Choice(tuple(RECORDS)), help="[default: all]")
@click.option("--busy", is_flag=True, help="Whatever the load.")
@click.option("--folder", type=click.Path(exists=True), help="Where the large file lies.")
@click.option("-o", "--output", required=True, type=click.Path(exists=True, path_type=Path))
def main(only: tuple[str, ...], busy: bool, folder: str | None, output: Path) -> None:
    """Run them."""
    if (load := os.getloadavg()[0]) > QUIET and not busy:
        raise click.ClickException(f"load {load:.2f}: at most {QUIET} expected; end other work")
    for name in only or RECORDS:
        script, *arguments = RECORDS[name].split()
        if folder is not None and script == "files":
            arguments += ["--folder", folder]
        begin = time.perf_counter()
        path = Path(__file__).with_name(f"{script}.py")
        subprocess.run(
            [sys.executable, path, *arguments, "-o", output / f"quiet-{name}.json"],
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
            check=True,
        )
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
