import json
import os
import subprocess
import sys

import click
import numpy as np
import pytest
import torch
from caches import write_splits

from marr_pipeline.cache import Head, SplitArrays
from marr_pipeline.cli.options import size
from marr_pipeline.rectify.rectifier_file import load_rectifier
from marr_pipeline.rectify.rows.blocks import CHUNK_LOGITS

MEBIBYTE = 1024**2


def make_cache(path, *, num_rows, num_classes, dtype="float16", num_features=None, seed=0):
    """A cache with a training split alone, whose logits carry their labels."""
    rng = np.random.default_rng(seed)
    drawn = min(num_rows, 20_000)  # and repeated: drawing hundreds of megabytes takes seconds
    labels = np.resize(rng.integers(num_classes, size=drawn), num_rows)
    logits = rng.standard_normal((drawn, num_classes), dtype=np.float32)
    logits[np.arange(drawn), labels[:drawn]] += 2.0
    logits = np.resize(logits.astype(dtype), (num_rows, num_classes))
    features = weight = None
    if num_features is not None:
        features = rng.standard_normal((1, num_rows, num_features), dtype=np.float32)
        weight = rng.standard_normal((num_classes, num_features), dtype=np.float32)
        logits = features[0] @ weight.T
    logits = logits[None].astype(dtype, copy=False)
    rows = SplitArrays(logits=logits, labels=labels, features=features)
    norms = np.ones(num_classes) if weight is None else np.linalg.norm(weight, axis=1)
    write_splits(
        path,
        {"train": rows},
        class_counts=np.bincount(labels, minlength=num_classes),
        head=Head(weight_norm=norms.astype(np.float64), weight=weight),
        dtype=dtype,
        parts={"seed": seed},
    )
    return path


@pytest.fixture(scope="module")
def several_chunks(tmp_path_factory):
    path = tmp_path_factory.mktemp("any_size") / "several.h5"
    return make_cache(path, num_rows=5 * CHUNK_LOGITS["cpu"][0] // 30, num_classes=30)


def without_chance(document):
    """All but what differs from run to run."""
    return {name: value for name, value in document.items() if name != "seconds"}


def test_a_bound_on_memory_changes_nothing_else(run, several_chunks):
    free = run("rectify", several_chunks, "--json")
    bounded = run("rectify", several_chunks, "--memory", "16M", "--json")
    assert free.code == bounded.code == 0
    assert without_chance(bounded.document) == without_chance(free.document)


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("2G", 2 * 1024**3),
        ("1.5g", 3 * 1024**3 // 2),
        ("64MiB", 64 * MEBIBYTE),
        ("512 k", 512 * 1024),
        ("1000", 1000),
    ],
)
def test_sizes_are_bytes_or_binary_multiples(text, num_bytes):
    assert size(text) == num_bytes


@pytest.mark.parametrize("text", ["much", "-1G", "2X", "G", ""])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(click.BadParameter, match="a size such as 64M or 2G expected, got"):
        size(text)


PEAK = """
import sys, threading, time
from marr_pipeline.cli import main


def anonymous():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


def rectify(cache):
    try:
        main(["rectify", cache, *sys.argv[3:]])
    except SystemExit as stop:
        assert stop.code == 0, stop.code


def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, anonymous())


rectify(sys.argv[1])  # loads what every run needs
peak = before = anonymous()
done = threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
rectify(sys.argv[2])
done.set()
watcher.join()
print("peak", peak - before)
"""


def peak_of_rectify(small, large, *options):
    """Bytes that rectifying `large` takes beyond rectifying `small`, file pages left out."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, small, large, *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split("peak")[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("source", ["logits", "features"])
def test_a_fit_stays_under_its_bound(tmp_path, source):
    num_features = {"logits": None, "features": 16}[source]
    # 300 MB of float16 logits; made from features, 128 MB of float32 logits.
    num_rows = {"logits": 750_000, "features": 160_000}[source]
    sizes = {"num_classes": 200, "num_features": num_features}
    small = make_cache(tmp_path / "small.h5", num_rows=6000, **sizes)
    large = make_cache(tmp_path / "large.h5", num_rows=num_rows, **sizes)
    options = ("--tolerance", "1e-2", "--from", source, "--memory", "64M")
    peak = peak_of_rectify(small, large, *options)
    # Labels and row weights, 16 bytes a row, are no buffers; nor are features of 5 MB, which are
    # read as a whole, and looked through for numbers that are none.
    read = 4 * 2 * num_features * num_rows if num_features else 0
    assert peak <= 64 * MEBIBYTE + 16 * num_rows + read


def test_torchrun_fits_once_and_speaks_once(run, several_chunks, tmp_path):
    output = tmp_path / "two.safetensors"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [
            *(*torchrun, "--nproc-per-node", "2", "-m", "marr_pipeline", "rectify"),
            *(str(several_chunks), "--tolerance", "1e-14", "--json", "-o", str(output)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)  # exactly one
    assert document["rectifier"] == str(output)
    alone = tmp_path / "one.safetensors"
    one = run("rectify", several_chunks, "--tolerance", "1e-14", "--json", "-o", alone).document
    assert document["status"] == one["status"] == "converged"
    assert document["loss"] == pytest.approx(one["loss"], rel=1e-12)
    logits = torch.randn(100, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        load_rectifier(output).apply(logits),
        load_rectifier(alone).apply(logits),
        rtol=0,
        atol=1e-6,
    )
