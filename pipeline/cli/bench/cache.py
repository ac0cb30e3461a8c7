"""`pipeline bench cache`: one file, however large, written, verified, fitted and read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import click

from pipeline import names
from pipeline.bench.settings import BenchSettings, ReadSettings
from pipeline.cli.bench.options import folder_option, objective_options, shape_options
from pipeline.cli.bench.steps import AnnouncedSteps
from pipeline.cli.command import command, json_option, note, print_json
from pipeline.cli.progress import ProgressLine
from pipeline.cli.size import size_type

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.bench.machine import Machine
    from pipeline.bench.reading import Reading
    from pipeline.bench.stages import Stage
    from pipeline.bench.timing import Stopwatch
    from pipeline.cli.bench.rows import RowRequest
    from pipeline.rectify.fit import Fit


@dataclass(frozen=True, kw_only=True)
class BenchedCache:
    """Everything that `pipeline bench cache` measured, and on what.

    Attributes:
        problem: the rows and what was fitted.
        machine: what it was measured on.
        stages: `write`, `verify` and `fit`, each once, with its memory.
        fit: of the last stage.
        reading: of the logits.
    """

    problem: dict[str, Any]
    machine: "Machine"
    stages: dict[str, "Stage"]
    fit: "Fit"
    reading: "Reading"

    @property
    def peak_memory(self) -> int | None:
        """Bytes beside mapped files, the most that any stage took; None where nobody tells."""
        peaks = [stage.memory.anonymous_peak for stage in self.stages.values()]
        return max((peak for peak in peaks if peak is not None), default=None)

    def document(self) -> dict[str, Any]:
        """The JSON document of the command."""
        fit = self.fit
        return {
            "command": "bench",
            "what": "cache",
            "problem": self.problem,
            "machine": self.machine,
            "stages": {name: stage.document() for name, stage in self.stages.items()},
            "peak_memory": self.peak_memory,
            "fit": {
                "status": fit.status.value,
                "loss": fit.loss,
                "gap_bound": fit.gap_bound,
                "passes": fit.passes,
                "seconds": fit.seconds,
            },
            "reading": self.reading.document(),
        }


def bench_cache(
    request: "RowRequest",
    objective: BenchSettings,
    settings: ReadSettings,
    *,
    memory: int | None,
    folder: Path | None,
) -> BenchedCache:
    """Write synthetic rows as a network would give them, block by block, and use the file.

    Args:
        request: shape and type of the rows.
        objective: what is fitted, and how near.
        settings: how reading is timed.
        memory: bound on the buffers of the fit, in bytes; None for none.
        folder: where the file lies; None for the system's folder of temporary files.

    Raises:
        ConfigError: a size that no long-tailed set has, or too little memory for one thread.
        CacheWriteError: the file cannot be written.
    """
    import numpy as np
    import torch

    from pipeline.bench.contest import marr_contest
    from pipeline.bench.machine import machine
    from pipeline.bench.reading import measure_reading
    from pipeline.bench.stages import run_stage
    from pipeline.cli.bench.file import sealed_file
    from pipeline.cli.bench.rows import SPLIT, rows_of_cache, synthetic_source, write_synthetic
    from pipeline.rectify.resources import Resources

    synthetic, dtype = request.synthetic(), request.dtype or "float32"
    device = torch.device("cpu")
    step = AnnouncedSteps()
    stages: dict[str, Stage] = {}
    with TemporaryDirectory(dir=folder, prefix="pipeline-bench-") as name:
        path = Path(name) / "rows.h5"

        def write(watch: "Stopwatch") -> None:
            blocks = _unpaid(synthetic.blocks(), watch)
            written = ProgressLine("writing", unit=" rows")
            write_synthetic(path, synthetic, blocks, dtype=dtype, progress=written)

        _, stages["write"] = run_stage(
            write,
            num_bytes=synthetic.num_samples * synthetic.num_classes * np.dtype(dtype).itemsize,
        )
        file = sealed_file(path, split=SPLIT)
        step(1, 4, "verify")
        _, stages["verify"] = run_stage(lambda watch: file.verify(), num_bytes=path.stat().st_size)
        rows = rows_of_cache(path, views="augmented", device=device)
        contest = marr_contest(rows.inputs, objective)
        step(2, 4, "fit")
        fit, stages["fit"] = run_stage(
            lambda watch: contest.fit(
                "lbfgs", tolerance=contest.tolerance, resources=Resources(memory=memory)
            ),
            num_bytes=rows.num_bytes,
        )
        step(3, 4, "reading")
        reading = measure_reading(file, settings)
    return BenchedCache(
        problem={
            # The file itself is gone, and its name says nothing.
            **replace(rows, source=synthetic_source(synthetic)).document(),
            **objective.document(),
            "memory": memory,
        },
        machine=machine(device),
        stages=stages,
        fit=fit,
        reading=reading,
    )


@command("cache")
@shape_options
@click.option("--dtype", type=click.Choice(names.DTYPES), default="float32", help="As stored.")
@objective_options(gap=1e-6)
@click.option(
    "--memory", type=size_type, default="1G", help="Bound on the fit's buffers, such as 512M."
)
@click.option("--batch-rows", type=int, default=512, help="Rows of a minibatch.")
@click.option("--batches", type=int, default=50, help="Minibatches read a turn.")
@folder_option
@json_option
def cache_command(
    samples: int | None,
    classes: int | None,
    imbalance_ratio: float | None,
    dtype: Literal["float32", "float16"],
    memory: int,
    batch_rows: int,
    batches: int,
    folder: Path | None,
    as_json: bool,
    **objective: Any,
) -> None:
    """Write synthetic rows to a cache, verify it, fit it and read it back.

    Each stage is done once, with the memory that it takes beside mapped files; reading is
    repeated, beside numpy.fromfile and h5py. The file is then removed.
    """
    from pipeline.cli.bench.rate_table import reading_table, stage_table
    from pipeline.cli.bench.rows import RowRequest
    from pipeline.cli.bench.table import machine_line

    settings = BenchSettings(**objective)
    found = bench_cache(
        RowRequest(
            samples=samples,
            classes=classes,
            imbalance_ratio=imbalance_ratio,
            dtype=dtype,
            seed=settings.seed,
        ),
        settings,
        ReadSettings(
            repeat=settings.repeat,
            batch_rows=batch_rows,
            num_batches=batches,
            seed=settings.seed,
        ),
        memory=memory,
        folder=folder,
    )
    if as_json:
        print_json(found.document())
        return
    note(machine_line(found.machine))
    click.echo(stage_table(found.stages))
    click.echo(reading_table(found.reading))


def _unpaid(
    blocks: "Iterator[tuple[int, Tensor]]", watch: "Stopwatch"
) -> "Iterator[tuple[int, Tensor]]":
    """The same blocks; while they are made, which a network would do, the clock stands."""
    while (block := watch.paused(lambda: next(blocks, None))) is not None:
        yield block
