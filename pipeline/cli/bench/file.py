"""A sealed cache as `pipeline bench` reads it: by our own reader, and by h5py alone."""

from collections.abc import Sequence
from pathlib import Path

import h5py

from cache import CacheError, open_cache, verify_cache
from cache.schema import split_dataset
from pipeline.bench.reading import Floats, Rows, SealedFile


def sealed_file(path: Path, *, split: str) -> SealedFile:
    """The logits of one split of a cache.

    Raises:
        CacheError: not a cache, or one without logits in that split.
    """
    dataset = split_dataset(split, "logits")

    def open_anew() -> Floats:
        logits = open_cache(path).split(split).logits
        if logits is None:
            raise CacheError(
                f"{path}: logits in split {split} expected, got features alone; "
                "give a cache extracted with --store both or logits"
            )
        return logits.reshape(-1, logits.shape[-1])

    def verify() -> None:
        damaged = verify_cache(path)
        if damaged:
            raise CacheError(f"{path}: an undamaged file expected, got {damaged[0]}; write it anew")

    def index(batches: Sequence[Rows]) -> None:
        with h5py.File(path) as file:
            logits = file[dataset]
            for rows in batches:
                _ = logits[rows] if logits.ndim == 2 else logits[0, rows]

    num_samples = open_cache(path).split(split).num_samples
    open_anew()
    with h5py.File(path) as file:
        offset = file[dataset].id.get_offset()
    return SealedFile(
        path=path,
        offset=offset,
        num_samples=num_samples,
        open=open_anew,
        verify=verify,
        index=index,
    )
