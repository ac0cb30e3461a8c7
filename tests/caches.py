"""Caches for tests: a plan with everything but what a test is about, and arrays written by it."""

import numpy as np

from marr_pipeline.cache import CachePlan, Head, write_arrays


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
