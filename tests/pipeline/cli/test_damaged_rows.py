"""Rows with a number that is none, or that change while they are read, end in one line and exit 3.

Those of more than 64 MiB are mapped and not looked at beforehand; here the bound is 0 for them.
"""

import faulthandler
import os
import signal
import time

import h5py
import numpy as np
import pytest
from caches import sum_anew, write_splits
from resumable import forked

from marr_pipeline.cache import CacheError, Head, SplitArrays, contents
from marr_pipeline.workflows.rectify import rectify_cache

ROW, COLUMN, CLASSES = 17, 2, 5


@pytest.fixture
def cache(tmp_path):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((CLASSES, 8)).astype(np.float32)

    def split(num_rows):
        labels = np.arange(num_rows) % CLASSES
        features = 0.4 * weight[labels] + rng.standard_normal((num_rows, 8), dtype=np.float32)
        logits = (features @ weight.T)[None]
        return SplitArrays(logits=logits, features=features[None], labels=labels, views=("clean",))

    head = Head.from_linear(weight, np.zeros(CLASSES, np.float32))
    counts = np.array([40, 40, 20, 10, 10])
    splits = {"train": split(120), "test": split(60)}
    path = tmp_path / "c.h5"
    write_splits(path, splits, head=head, class_counts=counts)
    return path


def spoil(path, dataset, value=np.nan):
    """As another program may write it: the checksums hold."""
    with h5py.File(path, "r+") as file:
        file[dataset][ROW, COLUMN] = value
    sum_anew(path)


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize(
    ("dataset", "command"),
    [
        ("splits/train/logits", ("rectify",)),
        ("splits/test/logits", ("rectify", "--method", "temperature")),
        ("splits/train/features", ("rectify", "--method", "head")),
        ("splits/train/features", ("rectify", "--method", "gda")),
        ("splits/train/logits", ("compare", "--methods", "marr")),
        ("splits/test/logits", ("evaluate",)),
    ],
)
def test_a_row_that_is_not_finite_is_named(
    run, cache, tmp_path, monkeypatch, dataset, command, is_large
):
    spoil(cache, dataset)
    monkeypatch.setattr(contents, "READ_UP_TO", 0 if is_large else 1 << 20)
    output = tmp_path / "r.safetensors"
    name, *options = command
    written = ("-o", output) if name == "rectify" else ()
    done = run(name, cache, *options, *written)
    split = dataset.split("/")[1]
    assert done.code == 3
    assert f"got nan in split {split}, view 0, row {ROW}, column {COLUMN};" in done.error
    assert "l2" not in done.error
    assert not output.exists()


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_apply_writes_no_number_that_is_none(run, cache, tmp_path, monkeypatch, value, is_large):
    rectifier, output = tmp_path / "r.safetensors", tmp_path / "new.npz"
    assert run("rectify", cache, "-o", rectifier).code == 0
    spoil(cache, "splits/test/logits", value)
    monkeypatch.setattr(contents, "READ_UP_TO", 0 if is_large else 1 << 20)
    done = run("apply", cache, rectifier, "-o", output)
    assert done.code == 3
    assert f"got {value} in split test, view 0, row {ROW}, column {COLUMN};" in done.error
    assert not output.exists()


@pytest.mark.parametrize("eval_split", ["test", "tune"])
def test_large_rows_that_are_written_to_during_a_fit(cache, tmp_path, monkeypatch, eval_split):
    monkeypatch.setattr(contents, "READ_UP_TO", 0)
    output, content = tmp_path / "r.safetensors", cache.read_bytes()

    def copy_over(*told):
        """As `cp other.h5 c.h5` does, in the same inode."""
        cache.write_bytes(content)

    with pytest.raises(CacheError, match=r"c\.h5: a file that stays as it is while it is read"):
        rectify_cache(cache, eval_split=eval_split, output=output, progress=copy_over)
    assert not output.exists()
    rectify_cache(cache, output=output)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="ends a process")
def test_large_rows_that_are_cut_off_end_the_process_and_leave_no_file(cache, tmp_path):
    output = tmp_path / "r.safetensors"

    def fit():
        faulthandler.disable()  # which pytest has enabled
        contents.READ_UP_TO = 0
        rectify_cache(cache, output=output, progress=lambda *told: os.truncate(cache, 0))

    assert forked(fit) == -signal.SIGBUS
    assert not output.exists()


def test_verify_is_recommended_for_large_rows_that_have_lain_for_long(run, cache, monkeypatch):
    then = time.time() - 100 * 86_400
    os.utime(cache, (then, then))

    def warnings():
        return run("rectify", cache, "--fit-views", "clean", "--json").document["warnings"]

    assert warnings() == []
    monkeypatch.setattr(contents, "READ_UP_TO", 0)
    (warning,) = warnings()
    assert "c.h5: last written 100 days ago, and rows of more than" in warning
    cache.touch()
    assert warnings() == []


def test_a_provenance_without_a_dataset(run, tmp_path):
    rows = SplitArrays(logits=np.eye(4)[None], labels=np.arange(4))
    write_splits(tmp_path / "c.h5", {"train": rows, "test": rows}, meta={"provenance": {"at": 1}})
    done = run("rectify", tmp_path / "c.h5")
    assert done.code == 3
    assert "meta/provenance: a record with 'dataset' expected, got one with at;" in done.error
