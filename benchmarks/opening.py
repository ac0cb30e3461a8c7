"""What it costs to open a cache whose bytes are compared, and to have its rows.

    python benchmarks/opening.py --samples 10847 --classes 100

The file's pages are in memory, and every turn opens it anew:

open      `open_cache`: all but logits and features is read and compared with its checksums
rows      the same, and every logit added up: up to 64 MiB they are read and compared, else mapped
fit       the same, and the default fit
verify    every byte against its checksum
command   `pipeline rectify`, a process of its own; its processor time is that of the child
"""

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from files import write
from harness import as_written, output_option, ratio, repeat_option, report, side_by_side
from rows import SyntheticRows, rows_options

from marr_pipeline import cache
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.workflows.cached import fit_inputs


@click.command(help=as_written(__doc__))
@rows_options(samples=10_847, classes=100)
@click.option("--dtype", type=click.Choice(("float16", "float32")), default="float32")
@repeat_option
@output_option
def main(rows: SyntheticRows, dtype: str, repeat: int, output: Path | None) -> None:
    """Write a cache, open it in turns."""
    settings = preset_settings("default", fit_split="train")

    def add_up() -> None:
        logits = cache.open_cache(path).split("train").logits
        assert logits is not None
        logits.sum()

    def fit() -> None:
        inputs, _ = fit_inputs(cache.open_cache(path), settings)
        fit_rectifier(inputs, settings)

    with TemporaryDirectory() as folder:
        path = Path(folder) / "c.h5"
        write(path, rows, dtype)
        num_bytes = path.stat().st_size
        measured = side_by_side(
            {
                "open": lambda: cache.open_cache(path),
                "rows": add_up,
                "fit": fit,
                "verify": lambda: cache.verify_cache(path),
            },
            repeat=repeat,
            title=f"opening {num_bytes / 1e6:,.1f} MB",
        )
        command = _command_seconds(path, runs=min(repeat, 3))
    report(
        "opening",
        measured,
        ratios={
            "open / fit": ratio(measured["open"], measured["fit"]),
            "rows / fit": ratio(measured["rows"], measured["fit"]),
            "verify / fit": ratio(measured["verify"], measured["fit"]),
        },
        output=output,
        rows=rows.record() | {"dtype": dtype, "bytes": num_bytes},
        command_seconds=command,
        shares={
            f"{name} / command": min(measured[name].processor) / command["processor"]
            for name in ("open", "rows", "verify")
        },
    )


def _command_seconds(path: Path, *, runs: int) -> dict[str, float]:
    """The least of some runs, by the clock and by the processor."""
    seconds, processor = [], []
    for _ in range(runs):
        before, begin = _children(), time.perf_counter()
        command = [sys.executable, "-m", "marr_pipeline", "rectify", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - begin)
        processor.append(_children() - before)
    return {"best": min(seconds), "processor": min(processor)}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
