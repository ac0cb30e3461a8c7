"""Every format that `import` reads gives the same cache."""

import csv

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from marr_pipeline.cache import open_cache, verify_cache

LABELS = np.repeat(np.arange(4), [6, 4, 2, 1])
IDS = np.arange(100, 113)
NAMES = ["ant", "bee", "cow", "dög"]


@pytest.fixture
def logits():
    return np.random.default_rng(0).standard_normal((13, 4)).astype(np.float32)


def save_npz(path, logits):
    np.savez(path, logits=logits, labels=LABELS, ids=IDS, class_names=np.array(NAMES))
    return ["--train", path]


def save_csv(path, logits):
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "label", *NAMES])
        for sample, label, values in zip(IDS, LABELS, logits.tolist(), strict=True):
            rows.writerow([sample, label, *values])
    return ["--train", path]


def save_torch(path, logits):
    content = {"logits": torch.from_numpy(logits), "labels": torch.from_numpy(LABELS)}
    torch.save({**content, "ids": IDS.tolist(), "class_names": NAMES, "epoch": 3}, path)
    return ["--train", path]


def save_torch_before_zip(path, logits):
    content = {"logits": torch.from_numpy(logits), "labels": torch.from_numpy(LABELS)}
    content |= {"ids": torch.from_numpy(IDS), "class_names": NAMES}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return ["--train", path]


FORMATS = {
    "t.npz": save_npz,
    "t.csv": save_csv,
    "t.pt": save_torch,
    "t.pth": save_torch_before_zip,
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_with_everything(run, tmp_path, logits, name):
    cache = tmp_path / "own.h5"
    options = FORMATS[name](tmp_path / name, logits)
    assert run("import", *options, "-o", cache).code == 0
    opened = open_cache(cache)
    train = opened.split("train")
    np.testing.assert_array_equal(train.logits, logits[None])
    np.testing.assert_array_equal(train.labels, LABELS)
    np.testing.assert_array_equal(train.ids, IDS)
    assert opened.class_names == NAMES
    assert opened.class_counts.tolist() == [6, 4, 2, 1]
    assert opened.meta("files") == {"train": name, "head": None}
    assert verify_cache(cache) == []
    run("import", *save_npz(tmp_path / "same.npz", logits), "-o", tmp_path / "same.h5")
    assert open_cache(tmp_path / "same.h5").fingerprint == opened.fingerprint


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pair_of_single_arrays(run, tmp_path, logits, order):
    cache = tmp_path / "own.h5"
    np.save(tmp_path / "l.npy", np.asarray(logits, order=order))
    np.save(tmp_path / "y.npy", LABELS)
    options = ["--train", tmp_path / "l.npy", "--train-labels", tmp_path / "y.npy"]
    options += ["--test", tmp_path / "l.npy", "--test-labels", tmp_path / "y.npy"]
    assert run("import", *options, "-o", cache).code == 0
    for name in ("train", "test"):
        np.testing.assert_array_equal(open_cache(cache).split(name).logits, logits[None])
        np.testing.assert_array_equal(open_cache(cache).split(name).labels, LABELS)


def test_safetensors_with_views_and_features(run, tmp_path, logits):
    views = torch.from_numpy(np.stack([logits, -logits])).to(torch.bfloat16)
    features = torch.ones(2, 13, 6, dtype=torch.float16)
    tensors = {"logits": views, "labels": torch.from_numpy(LABELS), "features": features}
    save_file(tensors, tmp_path / "t.safetensors")
    cache = tmp_path / "own.h5"
    assert run("import", "--train", tmp_path / "t.safetensors", "-o", cache).code == 0
    train = open_cache(cache).split("train")
    np.testing.assert_array_equal(train.logits, views.float().numpy())
    np.testing.assert_array_equal(train.features, features.float().numpy())


@pytest.mark.parametrize(
    ("dtype", "stored"), [("<f2", "float16"), ("<f4", "float32"), (">f8", "float32")]
)
def test_half_precision_is_kept(run, tmp_path, logits, dtype, stored):
    np.savez(tmp_path / "t.npz", logits=logits.astype(dtype), labels=LABELS)
    cache = tmp_path / "own.h5"
    assert run("import", "--train", tmp_path / "t.npz", "-o", cache).code == 0
    found = open_cache(cache).split("train").logits
    assert found.dtype == stored
    np.testing.assert_array_equal(found[0], logits.astype(dtype).astype(stored))


def test_the_fingerprint_follows_every_array(run, tmp_path, logits):
    features, ids = np.ones((13, 6), np.float32), IDS
    variants = [
        {"logits": logits, "labels": LABELS, "features": features, "ids": ids},
        {"logits": -logits, "labels": LABELS, "features": features, "ids": ids},
        {"logits": logits, "labels": LABELS[::-1], "features": features, "ids": ids},
        {"logits": logits, "labels": LABELS, "features": features + 1, "ids": ids},
        {"logits": logits, "labels": LABELS, "features": features, "ids": ids + 1},
        {"logits": logits, "labels": LABELS, "views": np.array(["clean"])},
        {"logits": logits, "labels": LABELS, "class_names": np.array(NAMES)},
        {"logits": logits, "labels": LABELS},
    ]
    found = []
    for index, arrays in enumerate(variants):
        np.savez(tmp_path / "t.npz", **arrays)
        cache = tmp_path / f"{index}.h5"
        assert run("import", "--train", tmp_path / "t.npz", "-o", cache).code == 0
        found.append(open_cache(cache).fingerprint)
    assert len(set(found)) == len(variants)
