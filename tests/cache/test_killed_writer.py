"""A writer killed at the worst moments: nothing is lost, and no file is half."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from resumable import names

from marr_pipeline.cache import open_cache, verify_cache

ROOT = Path(__file__).parents[2]

# A process of its own, which dies where the test asks.
DYING = """
import os, signal, sys
sys.path.insert(0, os.path.dirname(sys.argv[2]))
import marr_pipeline.cache.layout, marr_pipeline.cache.partial, marr_pipeline.cache.write
import numpy as np
from pathlib import Path
from marr_pipeline.cache import CachePlan, CacheWriter, Head, SplitPlan

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def after(function):
    def run(*arguments, **options):
        function(*arguments, **options)
        die()
    return run

moment = sys.argv[3]
if moment == "while sealing":
    marr_pipeline.cache.layout.dataset_blocks = die
elif moment == "sealed":
    marr_pipeline.cache.write.seal_file = after(marr_pipeline.cache.write.seal_file)
elif moment == "renamed":
    marr_pipeline.cache.partial._sync_folder = die
elif moment == "journal":
    marr_pipeline.cache.write.Journal = die

plan = SplitPlan(num_samples=400, views=("clean", "augmented"))
plan = CachePlan(
    class_counts=np.ones(10, np.int64), head=Head(weight_norm=np.ones(10)),
    splits={"train": plan}, parts={}, meta={}, creator="tests", libraries={},
)
with CacheWriter(Path(sys.argv[1]), plan, resumable=True) as writer:
    rows = np.random.default_rng(0).standard_normal((2, 400, 10), dtype=np.float32)
    writer.write_labels("train", np.zeros(400, np.int64))
    for view in range(2):
        for start in range(0, 400, 100):
            if not writer.has_block("train", view=view, start=start, stop=start + 100):
                block = rows[view, start : start + 100]
                writer.write_block("train", view=view, start=start, logits=block, features=None)
    print(writer.num_rows_kept)
"""


@pytest.mark.parametrize(
    ("moment", "left", "kept"),
    [
        ("journal", ["x.h5.partial", "x.h5.partial.lock"], 0),
        ("while sealing", ["x.h5.journal", "x.h5.partial", "x.h5.partial.lock"], 800),
        ("sealed", ["x.h5.journal", "x.h5.partial", "x.h5.partial.lock"], 800),
        ("renamed", ["x.h5", "x.h5.journal", "x.h5.partial.lock"], 0),
    ],
)
def test_killed_at_the_worst_moments(tmp_path, moment, left, kept):
    path = tmp_path / "x.h5"

    def run(moment):
        return subprocess.run(
            [sys.executable, "-c", DYING, str(path), str(ROOT / "setup.cfg"), moment],
            capture_output=True,
            text=True,
        )

    assert run(moment).returncode == -signal.SIGKILL
    assert names(path) == left
    if moment == "renamed":
        assert verify_cache(path) == []
        path.unlink()
    done = run("never")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == kept
    assert verify_cache(path) == []
    assert names(path) == ["x.h5"]
    rows = np.random.default_rng(0).standard_normal((2, 400, 10), dtype=np.float32)
    assert np.array_equal(open_cache(path).split("train").logits, rows)
