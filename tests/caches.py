"""Caches for tests: a plan with everything but what a test is about, and arrays written by it."""

import zlib

import h5py
import numpy as np

from marr_pipeline.cache import CachePlan, Head, write_arrays
from marr_pipeline.cache.extent import Extent, attributes_checksum, dataset_blocks, is_variable_text
from marr_pipeline.cache.sealed import write_seal
from marr_pipeline.cache.tree import open_datasets


def plan_of(splits, *, num_classes=4, **given):
    """A plan of a cache without a head, documents or names, unless they are given."""
    plain = {
        "class_counts": np.ones(num_classes, np.int64),
        "head": Head(weight_norm=np.ones(num_classes)),
        "parts": {},
        "meta": {},
        "creator": "tests",
        "libraries": {},
    }
    return CachePlan(splits=splits, **{**plain, **given})


def write_splits(path, arrays, *, overwrite=False, **given):
    """A sealed cache of the arrays of each split; the rest as for `plan_of`."""
    logits = next(iter(arrays.values())).logits
    splits = {name: split.plan for name, split in arrays.items()}
    width = {} if logits is None else {"num_classes": logits.shape[-1]}
    plan = plan_of(splits, **{**width, **given})
    write_arrays(path, plan, arrays, overwrite=overwrite)


def sum_anew(path):
    """Give a cache that h5py has changed the checksums and the seal of what it holds now."""
    with h5py.File(path, "r+") as file, path.open("rb") as raw:
        file.flush()
        del file["checksums"]
        datasets = open_datasets(file)
        for name, dataset in datasets.items():
            sums = [zlib.crc32(block) for block in dataset_blocks(dataset, raw.fileno())]
            file[f"checksums/{name}"] = np.array(sums, "<u4")
        total = np.array(attributes_checksum(file, datasets), "<u4")
        file["checksums"].attrs.create("attributes", total)
        extents = [Extent.of(one) for one in datasets.values() if not is_variable_text(one.dtype)]
    with path.open("r+b") as file:
        write_seal(file.fileno(), extents)
