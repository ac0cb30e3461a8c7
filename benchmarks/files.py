"""One cache, however large: written block by block, verified, fitted within a bound, and read.

    python benchmarks/files.py --samples 100000 --classes 1000 --memory 256M

The stages are done once, each with the memory that it takes beside mapped files. Reading takes
turns, with the file's pages in memory:

fromfile    `numpy.fromfile` on the bytes of the logits, block by block
mapped      the same blocks copied out of our mapping, which is new in every turn
pass        loss and gradient of the mapped rows, as a fit takes them in every step
torch_pass  the same by torch's operations, as where nothing is compiled
batches     minibatches of random rows out of our mapping
h5py        the same rows, sorted as h5py wants them, by its own indexing
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import h5py
import numpy as np
import numpy.typing as npt
import torch
from harness import (
    Work,
    as_written,
    memory_watch,
    output_option,
    ratio,
    repeat_option,
    report,
    seconds_of,
    side_by_side,
)
from objectives import passes_by
from rows import SyntheticRows, rows_options

from marr_pipeline import cache
from marr_pipeline.rectify.fit import FitResult, fit_rectifier, preset_settings
from marr_pipeline.rectify.objective import WeightedCrossEntropy
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.workflows.cached import fit_inputs

BLOCK_BYTES = 32 * 1024**2
UNITS = {"M": 1024**2, "G": 1024**3}
LOGITS = "splits/train/logits"

Floats = npt.NDArray[np.floating]


class SealedFile:
    """A cache's logits, as ours, NumPy and h5py read them.

    Args:
        path: the file.
        num_batches: minibatches of a turn.
        batch_rows: random rows of each.
    """

    def __init__(self, path: Path, *, num_batches: int, batch_rows: int) -> None:
        self.path = path
        with h5py.File(path) as file:
            self._offset = file[LOGITS].id.get_offset()
        logits = self.mapped()
        self._size, self._dtype, self._width = logits.size, logits.dtype, logits.shape[1]
        self._block_rows = max(1, BLOCK_BYTES // logits[0].nbytes)
        draw, size = np.random.default_rng(0), min(batch_rows, len(logits))
        self._batches = [draw.choice(len(logits), size, replace=False) for _ in range(num_batches)]

    def mapped(self) -> Floats:
        """(N, K), opened anew."""
        logits = cache.open_cache(self.path).split("train").logits
        assert logits is not None
        return logits[0]

    def read_fromfile(self) -> None:
        """All rows in order, by NumPy."""
        block = self._block_rows * self._width
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            for start in range(0, self._size, block):
                np.fromfile(stream, self._dtype, min(block, self._size - start))

    def read_mapped(self) -> None:
        """All rows in order, out of our mapping."""
        logits = self.mapped()
        for start in range(0, len(logits), self._block_rows):
            logits[start : start + self._block_rows].copy()

    def read_batches(self) -> None:
        """Random rows, out of our mapping."""
        logits = self.mapped()
        for rows in self._batches:
            logits[rows]

    def read_h5py(self) -> None:
        """The same rows, by h5py."""
        with h5py.File(self.path) as file:
            for rows in self._batches:
                file[LOGITS][np.sort(rows)]


@click.command(help=as_written(__doc__))
@rows_options(samples=100_000, classes=1000, imbalance_ratio=256.0)
@click.option("--dtype", type=click.Choice(("float16", "float32")), default="float16")
@click.option(
    "--memory", default="256M", show_default=True, help="Of the fit's buffers; 0 for no bound."
)
@click.option("--l2", default=0.01, show_default=True)
@click.option("--center", default="zero", show_default=True)
@click.option("--batch-rows", default=512, show_default=True)
@click.option("--batches", default=50, show_default=True)
@click.option("--folder", type=click.Path(exists=True), help="Where the file lies meanwhile.")
@repeat_option
@output_option
def main(
    rows: SyntheticRows,
    dtype: str,
    memory: str,
    l2: float,
    center: str,
    batch_rows: int,
    batches: int,
    folder: str | None,
    repeat: int,
    output: Path | None,
) -> None:
    """Write, verify, fit and read."""
    bound = 0 if memory == "0" else int(memory[:-1]) * UNITS[memory[-1]]
    resources = Resources(memory=bound or None)
    settings = preset_settings("default", l2=l2, center=center, fit_split="train")
    found: list[FitResult] = []

    def fit() -> None:
        inputs, _ = fit_inputs(cache.open_cache(path), settings)
        found.append(fit_rectifier(inputs, settings, resources=resources))

    def one_pass(kernel: str) -> Work:
        inputs, _ = fit_inputs(cache.open_cache(path), settings)
        with passes_by(kernel):
            loss = WeightedCrossEntropy(
                *inputs.source(), torch.ones(rows.num_classes), reduction="plain"
            )
        zeros = torch.zeros(rows.num_classes, dtype=torch.float64)
        return lambda: loss.evaluate(zeros + 1, zeros, precise=False)

    with TemporaryDirectory(dir=folder) as name:
        path = Path(name) / "rows.h5"
        stages = {
            "write": _stage(lambda: write(path, rows, dtype)),
            "verify": _stage(lambda: list(cache.verify_cache(path))),
            "fit": _stage(fit),
        }
        num_bytes = path.stat().st_size
        file = SealedFile(path, num_batches=batches, batch_rows=batch_rows)
        measured = side_by_side(
            {
                "fromfile": file.read_fromfile,
                "mapped": file.read_mapped,
                "pass": one_pass(""),
                "torch_pass": one_pass("torch"),
                "batches": file.read_batches,
                "h5py": file.read_h5py,
            },
            repeat=repeat,
            title=f"reading {num_bytes / 1e6:,.0f} MB",
        )
    report(
        "files",
        measured,
        ratios={
            "fromfile / mapped": ratio(measured["fromfile"], measured["mapped"]),
            "pass / mapped": ratio(measured["pass"], measured["mapped"]),
            "torch_pass / pass": ratio(measured["torch_pass"], measured["pass"]),
            "h5py / batches": ratio(measured["h5py"], measured["batches"]),
        },
        output=output,
        rows=rows.record() | {"dtype": dtype, "bytes": num_bytes},
        memory=resources.memory,
        stages=stages,
        fit={
            "l2": l2,
            "center": center,
            "status": found[0].status,
            "gap_bound": found[0].gap_bound,
            "passes": found[0].passes,
        },
        rows_per_second={
            name: batches * min(batch_rows, rows.num_samples) / measured[name].median
            for name in ("batches", "h5py")
        },
    )


def write(path: Path, rows: SyntheticRows, dtype: str) -> None:
    """The rows as an extraction would give them; drawing them is part of its time."""
    plan = cache.CachePlan(
        class_counts=rows.class_counts.numpy(),
        head=cache.Head.from_linear(rows.weight.numpy(), rows.bias.numpy()),
        splits={"train": cache.SplitPlan(num_samples=rows.num_samples, views=("augmented",))},
        dtype="float16" if dtype == "float16" else "float32",
        parts={"synthetic": rows.record()},
        meta={},
        creator="benchmarks/files.py",
        libraries={},
    )
    with cache.CacheWriter(path, plan) as writer:
        writer.write_labels("train", rows.labels.numpy())
        for block, _, logits in rows.blocks():
            writer.write_block(
                "train", view=0, start=block.start, logits=logits.numpy(), features=None
            )


def _stage(work: Callable[[], object]) -> dict[str, float]:
    """Seconds, and bytes beside mapped files: before, and the most meanwhile."""
    with memory_watch() as memory:
        seconds = seconds_of(work)
    return {"seconds": seconds, **memory}


if __name__ == "__main__":
    main()
