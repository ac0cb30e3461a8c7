"""A rectifier serves the head it was fitted on; for another one it must be asked for."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Rows and heads of two models that differ in their weights alone."""
    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [60, 30, 12, 5])
    features = rng.standard_normal((len(labels), 6))
    for name in ("first", "second"):
        weight, bias = rng.standard_normal((4, 6)), rng.standard_normal(4)
        logits = features @ weight.T + bias
        np.savez(folder / f"{name}.npz", logits=logits, labels=labels, features=features)
        np.savez(folder / f"{name}-head.npz", weight=weight, bias=bias)
    return folder


@pytest.fixture
def caches(run, models, tmp_path):
    for name in ("first", "second"):
        rows = models / f"{name}.npz"
        options = ["--train", rows, "--test", rows, "--head", models / f"{name}-head.npz"]
        assert run("import", *options, "-o", tmp_path / f"{name}.h5").code == 0
    rectifier = tmp_path / "marr.safetensors"
    assert run("rectify", tmp_path / "first.h5", "-o", rectifier).code == 0
    return tmp_path


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["evaluate"], None),
        (["apply"], "out.npz"),
        (["plot", "curves"], "curves.png"),
        (["plot", "confusion"], "confusion.png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_is_refused_unless_asked_for(run, caches, command, output):
    before = {path.name for path in caches.iterdir()}
    arguments = [caches / "second.h5", caches / "marr.safetensors"]
    if output is not None:
        arguments += ["-o", caches / output]
    done = run(*command, *arguments)
    assert done.code == 3
    assert done.out == ""
    assert f"{caches / 'marr.safetensors'}: a rectifier of this cache's head" in done.error
    assert done.error.endswith(f"fit one on {caches / 'second.h5'}, or use --any-head")
    assert {path.name for path in caches.iterdir()} == before
    assert run(*command, *arguments, "--any-head").code == 0
    assert output is None or (caches / output).exists()


def test_another_cache_of_the_same_head_is_served(run, models, caches):
    rows = models / "first.npz"
    options = ["--train", rows, "--tune", rows, "--head", models / "first-head.npz"]
    assert run("import", *options, "-o", caches / "third.h5").code == 0
    arguments = [caches / "third.h5", caches / "marr.safetensors", "--split", "tune"]
    assert run("evaluate", *arguments).code == 0


def test_another_number_of_classes_cannot_be_asked_for(run, caches):
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), 5)
    np.savez(caches / "three.npz", logits=rng.standard_normal((15, 3)), labels=labels)
    rows = caches / "three.npz"
    assert run("import", "--train", rows, "--test", rows, "-o", caches / "three.h5").code == 0
    done = run("evaluate", caches / "three.h5", caches / "marr.safetensors", "--any-head")
    assert done.code == 3
    assert "a rectifier of 3 classes expected" in done.error
