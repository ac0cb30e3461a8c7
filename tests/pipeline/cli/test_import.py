"""Every format that `import` reads gives the same cache, and what `apply` makes of such rows."""

import csv

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from marr_pipeline.cache import open_cache, verify_cache
from marr_pipeline.rectify.rectifier_file import load_rectifier
from marr_pipeline.workflows.import_logits import import_logits

COUNTS = [6, 4, 2, 1]
LABELS = np.repeat(np.arange(4), COUNTS)
IDS = np.arange(100, 113)
NAMES = ["ant", "bee", "cow", "dög"]
RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((13, 6), dtype=np.float32)
WEIGHT, BIAS = RNG.standard_normal((4, 6), dtype=np.float32), np.ones(4, np.float32)
LOGITS = FEATURES @ WEIGHT.T + BIAS


def save_npz(path):
    np.savez(path, logits=LOGITS, labels=LABELS, ids=IDS, class_names=np.array(NAMES))


def save_csv(path):
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "label", *NAMES])
        for sample, label, values in zip(IDS, LABELS, LOGITS.tolist(), strict=True):
            rows.writerow([sample, label, *values])


def save_torch(path):
    """`.pth` as torch saved before it wrote archives, with ids in a tensor."""
    is_old = path.suffix == ".pth"
    content = {"logits": torch.from_numpy(LOGITS), "labels": torch.from_numpy(LABELS)}
    content |= {"ids": torch.from_numpy(IDS) if is_old else IDS.tolist(), "class_names": NAMES}
    torch.save({**content, "epoch": 3}, path, _use_new_zipfile_serialization=not is_old)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "own.h5"


@pytest.fixture
def train(tmp_path):
    np.savez(tmp_path / "train.npz", logits=LOGITS, labels=LABELS, features=FEATURES)
    return tmp_path / "train.npz"


@pytest.mark.parametrize(
    ("name", "save"),
    [("t.npz", save_npz), ("t.csv", save_csv), ("t.pt", save_torch), ("t.pth", save_torch)],
)
def test_a_file_with_everything(tmp_path, cache, name, save):
    save(tmp_path / name)
    imported = import_logits({"train": tmp_path / name}, cache)
    opened = open_cache(cache)
    train = opened.split("train")
    np.testing.assert_array_equal(train.logits, LOGITS[None])
    np.testing.assert_array_equal(train.labels, LABELS)
    np.testing.assert_array_equal(train.ids, IDS)
    assert train.views == ("augmented",)
    assert opened.class_names == NAMES
    assert opened.class_counts.tolist() == COUNTS
    assert opened.meta("files") == {"train": name, "head": None}
    assert verify_cache(cache) == []
    save_npz(tmp_path / "same.npz")
    same = import_logits({"train": tmp_path / "same.npz"}, tmp_path / "same.h5")
    assert same.fingerprint == imported.fingerprint == opened.fingerprint


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pair_of_single_arrays(run, tmp_path, cache, order):
    np.save(tmp_path / "l.npy", np.asarray(LOGITS, order=order))
    np.save(tmp_path / "y.npy", LABELS)
    options = ["--train", tmp_path / "l.npy", "--train-labels", tmp_path / "y.npy"]
    options += ["--test", tmp_path / "l.npy", "--test-labels", tmp_path / "y.npy"]
    assert run("import", *options, "-o", cache).code == 0
    for name in ("train", "test"):
        np.testing.assert_array_equal(open_cache(cache).split(name).logits, LOGITS[None])
        np.testing.assert_array_equal(open_cache(cache).split(name).labels, LABELS)


def test_safetensors_with_views_and_features(tmp_path, cache):
    views = torch.from_numpy(np.stack([LOGITS, -LOGITS])).to(torch.bfloat16)
    features = torch.ones(2, 13, 6, dtype=torch.float16)
    tensors = {"logits": views, "labels": torch.from_numpy(LABELS), "features": features}
    save_file(tensors, tmp_path / "t.safetensors")
    import_logits({"train": tmp_path / "t.safetensors"}, cache)
    train = open_cache(cache).split("train")
    np.testing.assert_array_equal(train.logits, views.float().numpy())
    np.testing.assert_array_equal(train.features, features.float().numpy())


@pytest.mark.parametrize(
    ("dtype", "stored"), [("<f2", "float16"), ("<f4", "float32"), (">f8", "float32")]
)
def test_half_precision_is_kept(tmp_path, cache, dtype, stored):
    np.savez(tmp_path / "t.npz", logits=LOGITS.astype(dtype), labels=LABELS)
    import_logits({"train": tmp_path / "t.npz"}, cache)
    found = open_cache(cache).split("train").logits
    assert found.dtype == stored
    np.testing.assert_array_equal(found[0], LOGITS.astype(dtype).astype(stored))


def test_the_fingerprint_follows_every_array(tmp_path, cache):
    plain = {"logits": LOGITS, "labels": LABELS}
    whole = {**plain, "features": FEATURES, "ids": IDS}
    variants = [
        *(plain, whole),
        {**whole, "logits": -LOGITS},
        {**whole, "labels": LABELS[::-1]},
        {**whole, "features": FEATURES + 1},
        {**whole, "ids": IDS + 1},
        {**plain, "views": np.array(["clean"])},
        {**plain, "class_names": np.array(NAMES)},
    ]
    found = set()
    for arrays in variants:
        np.savez(tmp_path / "t.npz", **arrays)
        imported = import_logits({"train": tmp_path / "t.npz"}, cache, overwrite=True)
        found.add(imported.fingerprint)
    assert len(found) == len(variants)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_a_head_gives_norms_and_features_a_second_way_to_the_logits(
    run, train, tmp_path, cache, suffix
):
    head = tmp_path / f"head{suffix}"
    state = {"fc.weight": torch.from_numpy(WEIGHT), "fc.bias": torch.from_numpy(BIAS)}
    if suffix == ".npz":
        np.savez(head, weight=WEIGHT, bias=BIAS)
    else:
        (save_file if suffix == ".safetensors" else torch.save)(state, head)
    assert run("import", "--train", train, "--head", head, "-o", cache).code == 0
    norms = open_cache(cache).head.weight_norm
    np.testing.assert_allclose(norms, np.linalg.norm(WEIGHT.astype(np.float64), axis=1))
    assert run("rectify", cache, "--from", "features").code == 0


def test_without_a_head_marr_is_called_vector_scaling(run, train, cache):
    done = run("import", "--train", train, "-o", cache, "--json")
    assert "marr is vector scaling" in done.document["warnings"][0]
    document = run("rectify", cache, "--json").document
    assert any("marr is vector scaling" in text for text in document["warnings"])
    assert document["metrics"] == {"before": None, "logit_adjustment": None, "after": None}
    other = run("rectify", cache, "--method", "lws", "--json").document
    assert not any("vector scaling" in text for text in other["warnings"])


def test_apply_is_the_rectifier_on_the_logits(run, train, tmp_path, cache):
    rectifier, output = tmp_path / "marr.safetensors", tmp_path / "out.npz"
    import_logits({"train": train, "test": train}, cache)
    assert run("rectify", cache, "-o", rectifier).code == 0
    expected = load_rectifier(rectifier).apply(torch.from_numpy(LOGITS))
    for source in (cache, train):
        assert run("apply", source, rectifier, "-o", output).code == 0
        with np.load(output) as found:
            np.testing.assert_allclose(found["logits"], expected, rtol=1e-6)
            assert np.array_equal(found["predictions"], expected.argmax(1))
            assert np.array_equal(found["labels"], LABELS)
