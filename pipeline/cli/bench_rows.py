"""The rows that `pipeline bench` measures on: a cache's, or synthetic, in memory or on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

import cache
from pipeline.bench.synthetic import SyntheticLogits, logits_in_memory
from pipeline.cli.cached import fit_inputs
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
            "bytes": self.inputs.logits.numel() * self.inputs.logits.itemsize,
            "largest_class": int(counts.max()),
            "smallest_class": int(counts.min()),
        }


def rows_in_memory(
    synthetic: SyntheticLogits, *, dtype: LogitType, device: torch.device
) -> BenchRows:
    """Synthetic rows, made anew."""
    logits = logits_in_memory(synthetic, dtype=getattr(torch, dtype))
    inputs = FitInputs(
        logits=logits.to(device),
        labels=synthetic.labels,
        weight_norm=synthetic.weight_norm,
        class_counts=synthetic.class_counts,
        prior_counts=synthetic.class_counts,
    )
    return BenchRows(inputs=inputs, source={"source": "synthetic", **_parts(synthetic)})


def rows_of_cache(path: Path, *, views: cache.ViewKind, device: torch.device) -> BenchRows:
    """The training rows of a cache, mapped from the file.

    Raises:
        CacheError: not a cache, or one without those rows.
    """
    cached = cache.open_cache(path)
    inputs, warnings = fit_inputs(cached, split=SPLIT, views=views, source="logits", device=device)
    source = {"source": "cache", "cache": path, "fingerprint": cached.fingerprint}
    return BenchRows(inputs=inputs, source=source, warnings=tuple(warnings))


def write_synthetic(
    path: Path, synthetic: SyntheticLogits, *, dtype: LogitType, progress: Progress
) -> bool:
    """Write synthetic rows as a cache, block by block; False if that very cache is there already.

    Raises:
        StaleCacheError: another cache is there; each difference is named.
        CacheWriteError: the file cannot be written.
    """
    from pipeline.cli.caching import CREATOR, library_versions

    parts = {"synthetic": _parts(synthetic), "dtype": dtype}
    if path.exists():
        cache.require_same(cache.open_cache(path).parts, parts, where=str(path))
        return False
    num_samples = synthetic.num_samples
    with cache.CacheWriter(
        path,
        class_counts=synthetic.class_counts.numpy(),
        head=cache.Head.from_linear(synthetic.weight.numpy(), synthetic.bias.numpy()),
        splits={SPLIT: cache.SplitPlan(num_samples=num_samples, views=("augmented",))},
        dtype=dtype,
        parts=parts,
        meta={},
        creator=CREATOR,
        libraries=library_versions(),
    ) as writer:
        writer.write_labels(SPLIT, synthetic.labels.numpy())
        for start, block in synthetic.blocks():
            writer.write_block(SPLIT, view=0, start=start, logits=block.numpy(), features=None)
            progress(start + len(block), num_samples, str(path))
    return True


def _parts(synthetic: SyntheticLogits) -> dict[str, int | float]:
    return {
        "samples": synthetic.num_samples,
        "classes": synthetic.num_classes,
        "imbalance_ratio": synthetic.imbalance_ratio,
        "seed": synthetic.seed,
    }
