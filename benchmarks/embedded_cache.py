"""The cache of `pipeline demo --cached`, cut from a whole one of CIFAR-10-LT.

    pipeline extract --dataset cifar10-lt --data-root data/cifar10 --imbalance-ratio 100 \
        --iterations 3000 --batch-size 128 --views 4 --seed 0 -o softmax.h5
    python benchmarks/embedded_cache.py softmax.h5 -o pipeline/workflows/cifar10-lt.h5

It keeps the logits of every view as float16, the labels, the head, the counts and the names: all
that fits on logits and their scores need. Features and ids are left out, for their size, and the
lists of rows. The cache says so itself, under `/meta/cut`.
"""

import argparse
from pathlib import Path

import numpy as np

from marr_pipeline import cache
from marr_pipeline.workflows import CREATOR, library_versions

KEPT = ("config", "provenance", "transforms")
LEFT_OUT = ("features", "ids", "indices")


def cut_cache(source: Path, output: Path) -> None:
    """Write `output` from the cache `source`, whose checksums must hold.

    Raises:
        SystemExit: the source is damaged.
        CacheError: it is no cache, or `output` cannot be written.
    """
    damage = cache.verify_cache(source)
    if damage:
        raise SystemExit(f"{source}: {damage[0]}; extract it again")
    whole = cache.open_cache(source)
    splits = {
        name: cache.SplitArrays(
            logits=split.logits.astype(np.float16), labels=split.labels, views=split.views
        )
        for name, split in whole.splits.items()
        if split.logits is not None
    }
    cut = {"cut_from": whole.fingerprint, "stored_as": "float16", "left_out": list(LEFT_OUT)}
    made = {name: whole.attributes[name] for name in ("created_utc", "creator", "torch_version")}
    plan = cache.CachePlan(
        class_counts=whole.class_counts,
        head=whole.head,
        splits={name: arrays.plan for name, arrays in splits.items()},
        dtype="float16",
        class_names=whole.class_names,
        parts=cut,
        meta={
            **{key: whole.meta(key) for key in KEPT},
            "cut": {**cut, "by": "benchmarks/embedded_cache.py", "whole": made},
        },
        creator=CREATOR,
        libraries=library_versions(),
    )
    cache.write_arrays(output, plan, splits, overwrite=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="cache of `pipeline extract`")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    cut_cache(arguments.source, arguments.output)
