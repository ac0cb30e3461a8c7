"""Reading a sealed file, beside what NumPy and h5py take for the same rows. R rows, K classes.

open      the header is checked, the arrays are mapped
fromfile  `numpy.fromfile` on the bytes of the logits, block by block
mapped    the same blocks copied out of our mapping, which is new in every run
verify    every checksum of the file
batches   minibatches of random rows out of our mapping
h5py      the same rows, sorted as h5py wants them, by its own indexing

The pages of the file are in memory: a first turn, which is not counted, reads them all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.bench.rates import Rate, RateRatio, Work, measure_rates
from pipeline.bench.settings import ReadSettings
from pipeline.bench.timing import Stopwatch

BLOCK_BYTES = 32 * 1024**2
RATIOS = (("mapped", "fromfile"), ("batches", "h5py"))

Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SealedFile:
    """A file and the ways to read it.

    Attributes:
        path: the file.
        offset: first byte of the logits (R, K), which are contiguous.
        num_samples: N, rows of the first view, of which minibatches are drawn.
        open: opens it anew and gives the mapped logits (R, K).
        verify: checks every checksum.
        index: fetches the logits of every batch of rows (B,), ascending, by h5py alone.
    """

    path: Path
    offset: int
    num_samples: int
    open: Callable[[], Floats]
    verify: Callable[[], None]
    index: Callable[[Sequence[Rows]], None]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was measured, by the names of the module docstring.

    Attributes:
        rates: of all works.
    """

    rates: dict[str, Rate]

    @property
    def ratios(self) -> dict[str, RateRatio]:
        """`a_to_b`: the rate of a over the rate of b."""
        return {
            f"{upper}_to_{lower}": RateRatio.of(self.rates[upper], self.rates[lower])
            for upper, lower in RATIOS
        }

    def document(self) -> dict[str, Any]:
        """The rates and their ratios as JSON."""
        return {
            **{name: rate.document() for name, rate in self.rates.items()},
            "ratios": {name: ratio.document() for name, ratio in self.ratios.items()},
        }


def measure_reading(file: SealedFile, settings: ReadSettings) -> Reading:
    """Time every way to read the file, in turn."""
    logits = file.open()
    num_rows = len(logits)
    block_rows = max(1, BLOCK_BYTES // (logits.itemsize * logits.shape[1]))
    batches = random_batches(file.num_samples, settings)

    def open_anew(watch: Stopwatch) -> None:
        file.open()

    def fromfile(watch: Stopwatch) -> None:
        block = block_rows * logits.shape[1]
        with file.path.open("rb") as stream:
            stream.seek(file.offset)
            for start in range(0, logits.size, block):
                np.fromfile(stream, logits.dtype, min(block, logits.size - start))

    def mapped(watch: Stopwatch) -> None:
        anew = watch.paused(file.open)
        for start in range(0, num_rows, block_rows):
            anew[start : start + block_rows].copy()

    def verify(watch: Stopwatch) -> None:
        file.verify()

    def index_mapped(watch: Stopwatch) -> None:
        anew = watch.paused(file.open)
        for rows in batches:
            anew[rows]

    def index_h5py(watch: Stopwatch) -> None:
        file.index([np.sort(rows) for rows in batches])

    num_drawn = sum(len(rows) for rows in batches)
    works = {
        "open": Work(amount=1, unit="files", run=open_anew),
        "fromfile": Work(amount=logits.nbytes, unit="bytes", run=fromfile),
        "mapped": Work(amount=logits.nbytes, unit="bytes", run=mapped),
        "verify": Work(amount=file.path.stat().st_size, unit="bytes", run=verify),
        "batches": Work(amount=num_drawn, unit="rows", run=index_mapped),
        "h5py": Work(amount=num_drawn, unit="rows", run=index_h5py),
    }
    rates = measure_rates(works, repeat=settings.repeat, device=torch.device("cpu"))
    return Reading(rates=rates)


def random_batches(num_samples: int, settings: ReadSettings) -> list[Rows]:
    """Sets of distinct rows out of N in a random order, as the minibatches of an epoch are."""
    generator = np.random.default_rng(settings.seed)
    size = min(settings.batch_rows, num_samples)
    return [
        generator.choice(num_samples, size, replace=False, shuffle=True)
        for _ in range(settings.num_batches)
    ]
