import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from marr_pipeline.cache import open_cache
from marr_pipeline.rectify.rectifier_file import load_rectifier


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [60, 30, 12, 5])
    features = rng.normal(size=(len(labels), 6)).astype(np.float32)
    weight = rng.normal(size=(4, 6)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    logits = features @ weight.T + bias
    return {
        "logits": logits,
        "labels": labels,
        "features": features,
        "weight": weight,
        "bias": bias,
    }


@pytest.fixture
def train(arrays, tmp_path):
    path = tmp_path / "train.npz"
    np.savez(path, logits=arrays["logits"], labels=arrays["labels"], features=arrays["features"])
    return path


def head_file(arrays, path):
    tensors = {"fc.weight": torch.from_numpy(arrays["weight"])}
    tensors["fc.bias"] = torch.from_numpy(arrays["bias"])
    if path.suffix == ".npz":
        np.savez(path, weight=arrays["weight"], bias=arrays["bias"])
    elif path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("name", ["head.npz", "head.safetensors", "head.pt"])
def test_a_head_gives_norms_and_features_a_second_way_to_the_logits(
    run, arrays, train, tmp_path, name
):
    cache = tmp_path / "own.h5"
    head = head_file(arrays, tmp_path / name)
    assert run("import", "--train", train, "--head", head, "-o", cache).code == 0
    opened = open_cache(cache)
    np.testing.assert_allclose(opened.head.weight_norm, np.linalg.norm(arrays["weight"], axis=1))
    assert opened.class_counts.tolist() == [60, 30, 12, 5]
    assert opened.split("train").views == ("augmented",)
    assert run("rectify", cache, "--from", "features").code == 0


def test_without_a_head_marr_is_called_vector_scaling(run, train, tmp_path):
    cache = tmp_path / "own.h5"
    done = run("import", "--train", train, "-o", cache, "--json")
    assert "marr is vector scaling" in done.document["warnings"][0]
    document = run("rectify", cache, "--json").document
    assert any("marr is vector scaling" in text for text in document["warnings"])
    assert document["metrics"] == {"before": None, "logit_adjustment": None, "after": None}
    other = run("rectify", cache, "--method", "lws", "--json").document
    assert not any("vector scaling" in text for text in other["warnings"])


def test_apply_is_the_rectifier_on_the_logits(run, arrays, train, tmp_path):
    cache, rectifier = tmp_path / "own.h5", tmp_path / "marr.safetensors"
    run("import", "--train", train, "--test", train, "-o", cache)
    assert run("rectify", cache, "-o", rectifier).code == 0
    expected = load_rectifier(rectifier).apply(torch.from_numpy(arrays["logits"]))
    for source in (cache, train):
        output = tmp_path / "out.npz"
        assert run("apply", source, rectifier, "-o", output).code == 0
        with np.load(output) as found:
            np.testing.assert_allclose(found["logits"], expected, rtol=1e-6)
            assert np.array_equal(found["predictions"], expected.argmax(1))
            assert np.array_equal(found["labels"], arrays["labels"])
