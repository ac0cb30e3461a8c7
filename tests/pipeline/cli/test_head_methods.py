"""Methods that go beyond scales and shifts of logits, through every command that takes them."""

import h5py
import numpy as np
import pytest

HEADS = ("crt", "balanced-softmax-head", "tde")


@pytest.fixture(scope="session")
def narrow_cache(digits_cache):
    """Features half as wide, with the head to match; every other array is the same."""
    path = digits_cache.with_name("narrow.h5")
    arrays = {}
    with h5py.File(digits_cache) as file:
        for split in ("train", "test"):
            rows = file[f"splits/{split}"]
            features = rows["features"][...]
            features = features[0] if features.ndim == 3 else features
            arrays[split] = (features[:, ::2], rows["labels"][...])
        weight, bias = file["head/weight"][...][:, ::2], file["head/bias"][...]
    for split, (features, labels) in arrays.items():
        np.savez(
            path.with_name(f"{split}.npz"),
            logits=features @ weight.T + bias,
            features=features,
            labels=labels,
        )
    np.savez(path.with_name("head.npz"), weight=weight, bias=bias)
    return path


@pytest.mark.parametrize("method", HEADS)
def test_a_head_goes_from_fit_to_metrics_logits_and_figure(run, digits_cache, tmp_path, method):
    file = tmp_path / f"{method}.safetensors"
    fitted = run("rectify", digits_cache, "--method", method, "-o", file, "--json")
    assert fitted.code == 0, fitted.err
    document = fitted.document
    assert document["method"] == method
    assert document["omega"] is None
    closed = method == "tde"
    assert document["status"] == ("closed_form" if closed else "converged")
    assert (document["optimizer"] is None) == closed

    evaluated = run("evaluate", digits_cache, file, "--json").document["methods"]
    assert evaluated[method]["overall"] == document["metrics"]["after"]["overall"]

    out = tmp_path / "rectified.npz"
    assert run("apply", digits_cache, file, "-o", out).code == 0
    with np.load(out) as arrays:
        accuracy = (arrays["predictions"] == arrays["labels"]).mean()
    assert accuracy == pytest.approx(document["metrics"]["after"]["overall"])
    for figure in ("curves", "confusion"):
        picture = tmp_path / f"{figure}.png"
        assert run("plot", figure, digits_cache, file, "-o", picture).code == 0
        assert picture.stat().st_size > 10_000


def test_retraining_lifts_the_tail_of_the_digits(run, digits_cache):
    metrics = run("rectify", digits_cache, "--method", "crt", "--json").document["metrics"]
    assert metrics["after"]["few"] > metrics["before"]["few"]


def test_the_header_says_what_is_minimised(run, digits_cache):
    exact = run("rectify", digits_cache, "--method", "crt").err
    assert "crt (default): gamma 1, l2 0.0005 to zero, weighted mean" in exact
    ruled = run("rectify", digits_cache, "--method", "tde", "--alpha", "0.5").err
    assert "tde: alpha 0.5" in ruled


@pytest.fixture(scope="session")
def cache_without_features(digits_cache):
    path = digits_cache.with_name("logits-only.h5")
    arrays = path.with_name("logits.npz")
    with h5py.File(digits_cache) as file:
        rows = file["splits/train"]
        logits = rows["logits"][...]
        logits = logits[0] if logits.ndim == 3 else logits
        np.savez(arrays, logits=logits, labels=rows["labels"][...])
    return path, arrays


@pytest.mark.parametrize("method", HEADS)
def test_a_cache_without_features_is_refused(run, cache_without_features, method):
    path, arrays = cache_without_features
    assert run("import", "--train", arrays, "-o", path, "--overwrite").code == 0
    refused = run("rectify", path, "--method", method)
    assert refused.code == 3
    assert f"expected for {method}, got a cache without" in refused.error


def test_a_head_of_another_width_is_refused(run, digits_cache, narrow_cache, tmp_path):
    file = tmp_path / "crt.safetensors"
    assert run("rectify", digits_cache, "--method", "crt", "-o", file).code == 0
    folder = narrow_cache.parent
    imported = run(
        "import",
        *("--train", folder / "train.npz", "--test", folder / "test.npz"),
        *("--head", folder / "head.npz", "-o", narrow_cache),
    )
    assert imported.code == 0, imported.err
    refused = run("evaluate", narrow_cache, file, "--any-head")
    assert refused.code == 3
    assert "features expected" in refused.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "crt", "--alpha", "1"), "--alpha: --method tde expected, got crt"),
        (("--method", "crt", "--center", "identity"), "center: zero expected for crt"),
        (("--sampling", "class-balanced"), "sampling: instance expected with optimizer lbfgs"),
    ],
)
def test_options_that_do_not_go_together_are_refused(run, digits_cache, options, message):
    refused = run("rectify", digits_cache, *options)
    assert refused.code == 2
    assert message in refused.error
