"""Rectified rows go into their file block by block, and are those that memory would hold."""

import numpy as np
import pandas as pd
import pytest

import marr_pipeline.workflows.apply as module
from marr_pipeline import apply, import_logits, rectify_cache
from marr_pipeline.errors import PipelineError
from marr_pipeline.workflows.arrays import csv_file, spool
from marr_pipeline.workflows.arrays.output import joined_names

K = 3
NAMES = ["cat", "dog", "owl"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("apply"), np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    rows = 2 * np.eye(K)[labels] + rng.normal(size=(100, K))
    np.savez(folder / "train.npz", logits=rows, labels=labels, class_names=NAMES)
    import_logits({"train": folder / "train.npz"}, folder / "cache.h5")
    rectify_cache(folder / "cache.h5", output=folder / "marr.safetensors")
    frame = pd.DataFrame(rows, columns=NAMES).assign(label=np.array(NAMES)[labels])
    frame.insert(0, "id", [f"row {place}" for place in range(100)])
    frame.to_csv(folder / "rows.csv", index=False)
    return folder


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_LOGITS", 7 * K)
    monkeypatch.setattr(csv_file, "_BLOCK_ROWS", 16)
    monkeypatch.setattr(spool, "IN_MEMORY", 300)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_blocks_are_what_one_would_be(files, tmp_path, monkeypatch, suffix):
    source, rectifier = files / "rows.csv", files / "marr.safetensors"
    whole = apply(source, rectifier)
    apply(source, rectifier, output=tmp_path / f"whole{suffix}")
    monkeypatch.setattr(module, "_BLOCK_LOGITS", 7 * K)
    monkeypatch.setattr(csv_file, "_BLOCK_ROWS", 16)
    monkeypatch.setattr(spool, "IN_MEMORY", 300)
    found = apply(source, rectifier, output=tmp_path / f"blocks{suffix}")
    assert found.arrays == {}
    assert found.num_rows == 100
    again = apply(source, rectifier).arrays
    assert list(again) == list(whole.arrays)
    for name, expected in whole.arrays.items():
        np.testing.assert_array_equal(again[name], expected)
    one, other = (tmp_path / f"{name}{suffix}" for name in ("whole", "blocks"))
    if suffix == ".csv":
        assert one.read_text() == other.read_text()
    elif suffix == ".parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(one), pd.read_parquet(other))
    else:
        with np.load(one) as expected, np.load(other) as blocks:
            assert list(blocks) == list(whole.arrays)
            for name in expected:
                assert blocks[name].dtype == expected[name].dtype
                np.testing.assert_array_equal(blocks[name], expected[name])


def test_views_are_rectified_together(files, tmp_path, small_blocks, rng):
    views = rng.normal(size=(2, 40, K))
    np.savez(tmp_path / "views.npz", logits=views, labels=np.arange(40) % K)
    apply(tmp_path / "views.npz", files / "marr.safetensors", output=tmp_path / "o.npz")
    with np.load(tmp_path / "o.npz") as found:
        assert found["logits"].shape == (2, 40, K)
        assert found["predictions"].shape == (2, 40)
        assert found["labels"].shape == (40,)


def test_a_failure_in_a_late_block_leaves_no_file(files, tmp_path, small_blocks, monkeypatch):
    made = module._blocks

    def breaks(*arguments, **options):
        blocks = made(*arguments, **options)
        yield next(blocks)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_blocks", breaks)
    for name in ("o.csv", "o.npz", "o.parquet"):
        with pytest.raises(PipelineError, match="No space left"):
            apply(files / "rows.csv", files / "marr.safetensors", output=tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_names_in_a_set_are_told_apart():
    members = np.array([True, True, False, True])
    assert joined_names(members, ["a;b", "c\\", "d", "e"]) == "a\\;b;c\\\\;e"
    assert joined_names(~members, ["a", "b", "c", "d"]) == "c"
    assert joined_names(members & False, ["a", "b", "c", "d"]) == ""
