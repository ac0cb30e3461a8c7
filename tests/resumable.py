"""One cache of known rows, writers that stop in the middle of it, and what they must leave."""

import os
import sys
import traceback
from contextlib import suppress

import h5py
import numpy as np

from marr_pipeline.cache import SplitPlan, open_cache, verify_cache
from marr_pipeline.cache.extent import Extent

NUM_ROWS, BLOCK = 2000, 100
VIEWS = ("clean", "augmented", "augmented")
BLOCKS = [(view, start) for view in range(len(VIEWS)) for start in range(0, NUM_ROWS, BLOCK)]
LABELS = np.arange(NUM_ROWS) % 4
LOGITS = np.random.default_rng(0).standard_normal((len(VIEWS), NUM_ROWS, 4), dtype=np.float32)
FEATURES = np.random.default_rng(1).standard_normal((len(VIEWS), NUM_ROWS, 3), dtype=np.float32)
PLAN = SplitPlan(num_samples=NUM_ROWS, views=VIEWS, num_features=3, has_ids=True)


class StopError(Exception):
    """What ends a writer."""


def write_blocks(writer, blocks):
    for view, start in blocks:
        rows = slice(start, start + BLOCK)
        writer.write_block(
            "train",
            view=view,
            start=start,
            logits=LOGITS[view, rows],
            features=FEATURES[view, rows],
        )


def write_labels(writer):
    writer.write_labels("train", LABELS)
    writer.write_ids("train", np.arange(NUM_ROWS))


def write_with(writer, *steps):
    """Run the steps on an open writer, each a function of it."""
    with writer:
        for step in steps:
            step(writer)


def stop_after(writer, blocks, error=StopError):
    with suppress(error), writer:
        write_blocks(writer, blocks)
        raise error


def forked(work):
    """Exit code of a process of its own that does the work; minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def finish(writer, *, reverse=False):
    """Write every block that is missing; how many those were."""
    with writer:
        write_labels(writer)
        missing = [
            (view, start)
            for view, start in BLOCKS
            if not writer.has_block("train", view=view, start=start, stop=start + BLOCK)
        ]
        write_blocks(writer, missing[::-1] if reverse else missing)
    return len(missing)


def assert_whole(path):
    """The cache is there, with every row, and nothing is left beside it."""
    split = open_cache(path).split("train")
    assert np.array_equal(split.logits, LOGITS)
    assert np.array_equal(split.features, FEATURES)
    assert np.array_equal(split.labels, LABELS)
    assert verify_cache(path) == []
    assert names(path) == ["x.h5"]


def assert_same_cache(path, whole):
    """The same rows bit by bit, the same fingerprint, and nothing damaged."""
    ours, theirs = open_cache(path), open_cache(whole)
    assert ours.fingerprint == theirs.fingerprint
    assert ours.splits.keys() == theirs.splits.keys()
    for split in ours.splits:
        for name in ("logits", "features", "labels"):
            rows = getattr(ours.split(split), name)
            assert np.array_equal(rows, getattr(theirs.split(split), name)), (split, name)
    assert verify_cache(path) == []


def names(path):
    """Every file beside `path`, itself included."""
    return sorted(other.name for other in path.parent.iterdir())


def place_of(path, dataset):
    """Where the rows of an unfinished cache lie."""
    with h5py.File(path, "r", locking=False) as file:
        return Extent.of(file[f"splits/train/{dataset}"])
