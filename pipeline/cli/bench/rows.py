"""The rows that `pipeline bench` measures on: a cache's, or synthetic, in memory or on disk."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import cache
from pipeline.bench.synthetic import SyntheticLogits, synthetic_inputs
from pipeline.cli.bench.options import DEFAULT_CLASSES, DEFAULT_IMBALANCE_RATIO, DEFAULT_SAMPLES
from pipeline.cli.cached import fit_inputs
from pipeline.cli.creator import CREATOR, library_versions
from pipeline.errors import ConfigError
from pipeline.progress import Progress
from pipeline.rectify.inputs import FitInputs

LogitType = Literal["float32", "float16"]
SPLIT = "train"


@dataclass(frozen=True, kw_only=True)
class BenchRows:
    """Rows and where they come from.

    Attributes:
        inputs: on the device that is measured.
        source: of the rows, as the document tells it.
        warnings: of the cache.
    """

    inputs: FitInputs
    source: dict[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Of the logits as they are stored."""
        return self.inputs.logits.numel() * self.inputs.logits.itemsize

    def document(self) -> dict[str, Any]:
        """Where the rows come from, and their size."""
        views, samples, classes = self.inputs.logits.shape
        counts = self.inputs.class_counts
        return {
            **self.source,
            "samples": samples,
            "views": views,
            "classes": classes,
            "dtype": str(self.inputs.logits.dtype).removeprefix("torch."),
            "bytes": self.num_bytes,
            "largest_class": int(counts.max()),
            "smallest_class": int(counts.min()),
        }


@dataclass(frozen=True, kw_only=True)
class RowRequest:
    """Which rows the user asked for; None takes the default.

    Attributes:
        source: a cache; None for synthetic rows.
        samples: N of synthetic rows.
        classes: K of synthetic rows.
        imbalance_ratio: of synthetic rows.
        dtype: of synthetic rows.
        stream: file for synthetic rows, which are then taken from there.
        views: which views of a cache.
        seed: of synthetic rows.
    """

    source: Path | None = None
    samples: int | None = None
    classes: int | None = None
    imbalance_ratio: float | None = None
    dtype: LogitType | None = None
    stream: Path | None = None
    views: cache.ViewKind = "augmented"
    seed: int = 0

    def synthetic(self) -> SyntheticLogits:
        """The synthetic rows.

        Raises:
            ConfigError: a size that no long-tailed set has.
        """
        ratio = self.imbalance_ratio
        return SyntheticLogits(
            num_samples=DEFAULT_SAMPLES if self.samples is None else self.samples,
            num_classes=DEFAULT_CLASSES if self.classes is None else self.classes,
            imbalance_ratio=DEFAULT_IMBALANCE_RATIO if ratio is None else ratio,
            seed=self.seed,
        )


def requested_rows(request: RowRequest, *, device: torch.device, progress: Progress) -> BenchRows:
    """Rows of a cache, or synthetic ones in memory or in a file.

    Args:
        request: which.
        device: where they are measured.
        progress: told how far the writing of a file is.

    Raises:
        ConfigError: a cache as well as a shape for synthetic rows.
        CacheError: the cache, or the file to stream from, is another one or invalid.
    """
    if request.source is not None:
        for name in ("samples", "classes", "imbalance_ratio", "dtype", "stream"):
            if getattr(request, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(
                    f"{option}: synthetic rows or a cache expected, got both; leave out {option} "
                    f"or {request.source}"
                )
        return rows_of_cache(request.source, views=request.views, device=device)
    synthetic, dtype = request.synthetic(), request.dtype or "float32"
    if request.stream is None:
        return rows_in_memory(synthetic, dtype=dtype, device=device)
    find_or_write_synthetic(request.stream, synthetic, dtype=dtype, progress=progress)
    return rows_of_cache(request.stream, views=request.views, device=device)


def rows_in_memory(
    synthetic: SyntheticLogits, *, dtype: LogitType, device: torch.device
) -> BenchRows:
    """Synthetic rows, made anew."""
    inputs = synthetic_inputs(synthetic, dtype=getattr(torch, dtype), device=device)
    return BenchRows(inputs=inputs, source=synthetic_source(synthetic))


def rows_of_cache(path: Path, *, views: cache.ViewKind, device: torch.device) -> BenchRows:
    """The training rows of a cache, mapped from the file.

    Raises:
        CacheError: not a cache, or one without those rows.
    """
    cached = cache.open_cache(path)
    inputs, warnings = fit_inputs(cached, split=SPLIT, views=views, source="logits", device=device)
    source = {"source": "cache", "cache": path, "fingerprint": cached.fingerprint}
    return BenchRows(inputs=inputs, source=source, warnings=tuple(warnings))


def find_or_write_synthetic(
    path: Path, synthetic: SyntheticLogits, *, dtype: LogitType, progress: Progress
) -> None:
    """Write synthetic rows as a cache, unless that very cache is there already.

    Raises:
        StaleCacheError: another cache is there; each difference is named.
        CacheWriteError: the file cannot be written.
    """
    if path.exists():
        parts = _cache_parts(synthetic, dtype)
        cache.require_same(cache.open_cache(path).parts, parts, where=str(path))
    else:
        write_synthetic(path, synthetic, synthetic.blocks(), dtype=dtype, progress=progress)


def write_synthetic(
    path: Path,
    synthetic: SyntheticLogits,
    blocks: Iterable[tuple[int, Tensor]],
    *,
    dtype: LogitType,
    progress: Progress,
) -> None:
    """Write the blocks of synthetic rows as a cache, one after the other.

    Raises:
        CacheWriteError: the file cannot be written.
    """
    num_samples = synthetic.num_samples
    with cache.CacheWriter(
        path,
        class_counts=synthetic.class_counts.numpy(),
        head=cache.Head.from_linear(synthetic.weight.numpy(), synthetic.bias.numpy()),
        splits={SPLIT: cache.SplitPlan(num_samples=num_samples, views=("augmented",))},
        dtype=dtype,
        parts=_cache_parts(synthetic, dtype),
        meta={},
        creator=CREATOR,
        libraries=library_versions(),
    ) as writer:
        writer.write_labels(SPLIT, synthetic.labels.numpy())
        for start, block in blocks:
            writer.write_block(SPLIT, view=0, start=start, logits=block.numpy(), features=None)
            progress(start + len(block), num_samples, str(path))


def _cache_parts(synthetic: SyntheticLogits, dtype: LogitType) -> dict[str, Any]:
    return {"synthetic": _parts(synthetic), "dtype": dtype}


def synthetic_source(synthetic: SyntheticLogits) -> dict[str, Any]:
    """Synthetic rows as a document tells them, wherever they lie."""
    return {"source": "synthetic", **_parts(synthetic)}


def _parts(synthetic: SyntheticLogits) -> dict[str, int | float]:
    return {
        "samples": synthetic.num_samples,
        "classes": synthetic.num_classes,
        "imbalance_ratio": synthetic.imbalance_ratio,
        "seed": synthetic.seed,
    }
